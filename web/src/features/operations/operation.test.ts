import { describe, expect, it } from 'vitest';
import { at, operation, step } from '../../testing/fixtures';
import { currentStep, headline, roleChanges, side, stallClock, stepMs } from './operation';

const t = (ms: number) => Date.parse(at(ms));

describe('stallClock', () => {
  const check = step('check', { state: 'done', startedAt: at(0), endedAt: at(5) });
  const pause = step('pause-writes', { state: 'done', startedAt: at(10), endedAt: at(11) });
  const promote = step('promote', { pointOfNoReturn: true });

  it('stands at zero while writes flow', () => {
    expect(stallClock(operation({ steps: [check, step('pause-writes'), promote] }), t(8))).toEqual({ phase: 'before', ms: 0, measured: false });
  });
  it('counts from the pause', () => {
    expect(stallClock(operation({ steps: [check, pause, promote] }), t(250))).toEqual({ phase: 'running', ms: 240, measured: false });
  });
  it('stops when the new primary takes writes', () => {
    const promoted = { ...promote, state: 'done' as const, startedAt: at(12), endedAt: at(16) };
    expect(stallClock(operation({ steps: [check, pause, promoted] }), t(9000))).toEqual({ phase: 'after', ms: 6, measured: false });
  });
  it('gives way to the measured stall', () => {
    const op = operation({ state: 'done', endedAt: at(40), steps: [check, pause], stall: { probeMs: 7.4, agentMs: 5, longestGapMs: 7.4 } });
    expect(stallClock(op, t(9000))).toEqual({ phase: 'after', ms: 7.4, measured: true });
  });
  it('stops when the operation was rolled back without a measurement', () => {
    expect(stallClock(operation({ state: 'rolled-back', endedAt: at(2010), steps: [check, pause, promote] }), t(9000))).toEqual({ phase: 'after', ms: 2000, measured: false });
  });
});

it('says which side of the point of no return it is on', () => {
  const steps = [step('promote', { pointOfNoReturn: true })];
  expect(side(operation({ steps })).sentence).toMatch(/^Before the point of no return/);
  expect(side(operation({ steps, pastPointOfNoReturn: true })).sentence).toMatch(/^Past the point of no return/);
  expect(side(operation({ kind: 'backup', steps: [step('copy')] })).sentence).toMatch(/does not touch the primary/);
  expect(side(operation({ state: 'rolled-back' })).past).toBe(false);
  expect(side(operation({ steps, state: 'needs-human', pastPointOfNoReturn: true })).sentence).toMatch(/do not go back/);
  expect(side(operation({ steps, state: 'needs-human' })).sentence).toMatch(/old primary/);
});

it('looks at the running step, else at the last that began', () => {
  const a = step('a', { state: 'done', startedAt: at(0), endedAt: at(1) });
  const b = step('b', { state: 'running', startedAt: at(2) });
  expect(currentStep(operation({ steps: [a, b, step('c')] }))?.id).toBe('b');
  expect(currentStep(operation({ steps: [a, step('b')] }))?.id).toBe('a');
  expect(currentStep(operation())).toBeNull();
});

it('times a step, also while it runs', () => {
  expect(stepMs(step('a', { startedAt: at(0), endedAt: at(12) }), t(999))).toBe(12);
  expect(stepMs(step('a', { startedAt: at(0) }), t(999))).toBe(999);
  expect(stepMs(step('a'), t(999))).toBeNull();
});

it('lists changed roles first and knows nodes that came or went', () => {
  const op = operation({
    rolesBefore: [{ node: 'c', role: 'clone' }, { node: 'a', role: 'leader' }, { node: 'b', role: 'follower' }],
    rolesAfter: [{ node: 'a', role: 'follower' }, { node: 'b', role: 'leader' }, { node: 'c', role: 'clone' }, { node: 'd', role: 'clone' }],
  });
  expect(roleChanges(op)).toEqual([
    { node: 'a', before: 'leader', after: 'follower', changed: true },
    { node: 'b', before: 'follower', after: 'leader', changed: true },
    { node: 'd', before: 'unknown', after: 'clone', changed: true },
    { node: 'c', before: 'clone', after: 'clone', changed: false },
  ]);
});

it('names any operation, and how it stands', () => {
  expect(headline(operation({ kind: 'add-node', state: 'done', node: 'demo-4' }))).toBe('Done: Add node: demo-4');
  expect(headline({ ...operation({ kind: 'backup' }), title: 'Back up demo' })).toBe('Back up demo');
  expect(headline(operation({ kind: 'failover', state: 'done', node: 'demo-2' }))).toBe('demo-2 leads now');
});
