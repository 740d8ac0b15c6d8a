import { expect, it } from 'vitest';
import { cluster, node } from '../../testing/fixtures';
import { stranded } from './noPrimary';

const off = { mode: 'off', suspendedUntil: null, coolDownUntil: null, blocked: null, decision: 'nothing', sentence: '' } as const;
const down = { level: 'down', sentence: 'Does not answer: connection refused' } as const;
const left = cluster({
  engine: 'redis', primary: null, failover: off,
  nodes: [
    node({ name: 'a', role: 'unknown', shouldBe: 'primary', status: down, position: null }), node({ name: 'b', role: 'replica', position: '90' }),
    node({ name: 'c', role: 'replica', position: '9007199254740993' }), node({ name: 'd', role: 'unknown', shouldBe: 'replica', status: down, position: null }),
  ],
});

it('names the replica that holds the most, what others lack, and who is silent', () => {
  expect(stranded(left)).toEqual({ recorded: 'a', seen: down.sentence, best: 'c', behind: [{ node: 'b', bytes: 9007199254740903n }], silent: ['d'] });
  expect(stranded({ ...left, nodes: left.nodes.slice(0, 1) })).toMatchObject({ recorded: 'a', best: null });
});

it('says nothing where something will happen by itself, or nothing is wrong', () => {
  expect(stranded({ ...left, failover: { ...off, mode: 'no-loss' } })).toBeNull();
  expect(stranded({ ...left, runningOperation: 'op-1' })).toBeNull();
  expect(stranded({ ...left, primary: { node: 'b', location: '' } })).toBeNull();
  expect(stranded({ ...left, engine: 'eventstore' })).toBeNull();
});
