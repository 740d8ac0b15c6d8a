import { describe, expect, it } from 'vitest';
import { shellQuote } from '../../lib/shell';
import { plan } from '../../testing/fixtures';
import { bareReason, changedChecks, redFirst, tallyChecks } from '../report/report';
import { cliLine, overridable, reportMaxAgeMs, whyNotYet, type Confirmation, whyNotThen } from './promote';

const ready: Confirmation = { plan: plan(), typedName: 'demo-2', overrides: [], reason: '', busy: false, reportAgeMs: 1000, allowed: true };

describe('whyNotYet', () => {
  it('is null only when everything is in order', () => expect(whyNotYet(ready)).toBeNull());
  it.each<[string, Partial<Confirmation>]>([
    ['nothing typed', { typedName: '' }],
    ['another node typed', { typedName: 'demo-3' }],
    ['a prefix typed', { typedName: 'demo-' }],
    ['another case typed', { typedName: 'Demo-2' }],
    ['a blank too much', { typedName: 'demo-2 ' }],
    ['no report yet', { plan: null }],
    ['refused by checks', { plan: plan({ refused: true }) }],
    ['a report past its age', { reportAgeMs: reportMaxAgeMs + 1 }],
    ['a request under way', { busy: true }],
    ['a check set aside without a reason', { overrides: ['mem.limit'], reason: ' ' }],
    ['a viewer', { allowed: false }],
  ])('refuses with %s', (_, change) => expect(whyNotYet({ ...ready, ...change })).not.toBeNull());
});

describe('reports', () => {
  const check = (id: string, verdict: 'pass' | 'warn' | 'refuse' | 'unknown') => ({ ...plan().report.checks[0]!, id, verdict });
  const checks = [check('a', 'pass'), check('b', 'warn'), check('c', 'refuse'), check('d', 'unknown'), check('e', 'refuse')];

  it('are read from the worst to the best, in the given order among equals', () => {
    expect(redFirst(checks).map((c) => c.id)).toEqual(['c', 'e', 'd', 'b', 'a']);
    expect(checks.map((c) => c.id)).toEqual(['a', 'b', 'c', 'd', 'e']);
  });
  it('say yes or no once', () => {
    expect(bareReason('no, because it is down')).toBe('it is down');
    expect(bareReason('yes, with 2 warning(s)')).toBe('with 2 warnings');
    expect(bareReason('yes, with 1 warning(s)')).toBe('with 1 warning');
    expect(bareReason('yes')).toBe('');
    expect(bareReason('not seen yet')).toBe('not seen yet');
  });
  it('are counted', () => expect(tallyChecks(checks)).toEqual({ refuse: 2, unknown: 1, warn: 1, pass: 1 }));
  it('mark what changed, new checks included', () => {
    const before = { ...plan().report, checks: [check('a', 'pass'), check('b', 'pass')] };
    const after = { ...plan().report, checks: [check('a', 'pass'), check('b', 'warn'), check('c', 'pass')] };
    expect([...changedChecks(before, after)]).toEqual(['b lag', 'c lag']);
    expect([...changedChecks(null, after)]).toEqual([]);
  });
});

describe('overridable', () => {
  const checked = (id: string, may: boolean) => ({ ...plan().report.checks[0]!, id, verdict: 'refuse' as const, overridable: may });
  const refusal = (code: string) => ({ code, title: '', detail: '', fix: '' });
  const refused = (...checks: ReturnType<typeof checked>[]) => plan({ refused: true, report: { ...plan().report, checks }, refusals: checks.map((c) => refusal(c.id)) });

  it('offers checks that may be set aside', () => expect(overridable(refused(checked('a', true), checked('b', true)))).toEqual(['a', 'b']));
  it('offers none while one refusal stands for good', () => expect(overridable(refused(checked('a', true), checked('b', false)))).toEqual([]));
  it('offers none for a refusal that is no check', () => expect(overridable(plan({ refused: true, refusals: [refusal('other')] }))).toEqual([]));
  it('is told on the command line', () => {
    expect(cliLine(plan(), 'demo', 'why', null, ['a', 'b'])).toBe("baton promote demo demo-2 --confirm demo-2 --override 'a,b' --reason why");
  });
});

describe('the command line', () => {
  it('is that of the promotion, with the reason', () => {
    expect(cliLine(plan(), 'demo', ' kernel update ', null)).toBe("baton promote demo demo-2 --confirm demo-2 --reason 'kernel update'");
    expect(cliLine(plan(), 'demo', '', null)).toBe('baton promote demo demo-2 --confirm demo-2');
  });
  it('names the operation when it is taken back', () => {
    expect(cliLine(plan({ node: 'demo-1' }), 'demo', '', 'op-7')).toBe('baton undo op-7 --confirm demo-1');
  });
  it('keeps the reason of a switch back', () => {
    expect(cliLine(plan({ node: 'demo-1' }), 'demo', 'done', 'op-7')).toBe('baton undo op-7 --confirm demo-1 --reason done');
  });
  it('cannot be broken out of', () => {
    expect(shellQuote("it's; rm -rf $(x)")).toBe(`'it'\\''s; rm -rf $(x)'`);
    expect(shellQuote('')).toBe("''");
  });
});

it('schedules within a minute and thirty days', () => {
  const now = new Date('2026-03-01T12:00').getTime();
  expect(whyNotThen('', now)).toBeNull();
  expect(whyNotThen('2026-03-01T12:30', now)).toBeNull();
  expect(whyNotThen('2026-03-01T11:00', now)).toMatch(/ahead/);
  expect(whyNotThen('2026-07-01T11:00', now)).toMatch(/30 days/);
});
