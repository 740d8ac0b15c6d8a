import { expect, it } from 'vitest';
import { cluster } from '../testing/fixtures';
import { bySeverity, splitVerdict, tally } from './severity';

it('the worst cluster stands first, equals by name', () => {
  const list = [
    cluster({ name: 'b', verdict: { level: 'healthy', sentence: '' } }),
    cluster({ name: 'a', verdict: { level: 'healthy', sentence: '' } }),
    cluster({ name: 'u', verdict: { level: 'unknown', sentence: '' } }),
    cluster({ name: 'd', verdict: { level: 'down', sentence: '' } }),
    cluster({ name: 'g', verdict: { level: 'degraded', sentence: '' } }),
    cluster({ name: 'r', verdict: { level: 'at-risk', sentence: '' } }),
  ];
  expect(bySeverity(list).map((c) => c.name)).toEqual(['d', 'r', 'g', 'u', 'a', 'b']);
  expect(tally(list)).toEqual({ healthy: 2, risk: 2, down: 1, unknown: 1 });
});

it('the verdict word is said once', () => {
  expect(splitVerdict('healthy', 'Healthy: can lose 1 node')).toEqual({ word: 'Healthy', rest: 'can lose 1 node', mark: ':' });
  expect(splitVerdict('at-risk', 'At risk: no copy is left')).toEqual({ word: 'At risk', rest: 'no copy is left', mark: ':' });
  expect(splitVerdict('degraded', 'One node is down')).toEqual({ word: 'Degraded', rest: 'One node is down', mark: '.' });
});
