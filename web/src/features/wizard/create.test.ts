import { expect, it } from 'vitest';
import { emptyDraft, hostsFor, requestOf, reviewSteps, spread, whyNotStep, type Draft } from './create';

const draft: Draft = { ...emptyDraft, name: 'cache', engine: 'redis', version: '7.0.15', agents: ['a', 'b', 'c'] };

it('holds each step until it can be left', () => {
  expect(whyNotStep(emptyDraft, 0, [])).toMatch(/Give it/);
  expect(whyNotStep(draft, 0, ['cache'])).toMatch(/already/);
  expect(whyNotStep({ ...draft, engine: '' }, 1, [])).toMatch(/engine/);
  expect(whyNotStep({ ...draft, agents: [] }, 2, [])).toMatch(/host/);
  expect(whyNotStep({ ...draft, memoryMiB: 8 }, 3, [])).toMatch(/16 MiB/);
  expect(whyNotStep({ ...draft, agents: ['a'], durability: 'sync' }, 3, [])).toMatch(/second node/);
  expect([0, 1, 2, 3, 4].map((s) => whyNotStep(draft, s, []))).toEqual([null, null, null, null, null]);
});
it('asks for what was chosen', () => {
  expect(requestOf(draft)).toMatchObject({ name: 'cache', memoryBytes: 268_435_456, nodes: [{ name: 'cache-1', agent: 'a' }, { name: 'cache-2', agent: 'b' }, { name: 'cache-3', agent: 'c' }] });
  expect(reviewSteps(draft)).toContain('Let cache-2, cache-3 follow cache-1 and wait until they are in step');
});
it('warns of what one machine takes with it', () => {
  expect(spread(['a', 'b', 'c']).tone).toBe('ok');
  expect(spread(['a', 'a', 'a']).sentence).toMatch(/one machine/);
  expect(spread(['a', 'b', 'c', 'd']).sentence).toMatch(/even/);
  expect(spread(['a']).tone).toBe('warn');
});
it('offers hosts that have the version', () => {
  const host = (name: string, n: number) => ({ name, agent: name, instances: Array.from({ length: n }, () => ({ cluster: '', node: '', role: '' })) }) as never;
  const engines = [{ engine: 'redis', versions: [{ version: '7.0.15', hosts: ['a', 'b'] }] }];
  expect(hostsFor([host('a', 2), host('b', 0), host('c', 0)], engines, 'redis', '7.0.15').map((h) => h.name)).toEqual(['b', 'a']);
});
