import type { FailoverState } from '../../api/types';
import { expect, it } from 'vitest';
import { failoverSentence } from './lease';

const now = Date.parse('2026-03-01T12:00:00Z');
const state = (over: Partial<FailoverState>): FailoverState => ({ mode: 'no-loss', suspendedUntil: null, coolDownUntil: null, blocked: null, decision: 'nothing', sentence: '', ...over });

it('says first what keeps a failover from happening', () => {
  expect(failoverSentence(state({}), now).word).toBe('Armed');
  expect(failoverSentence(state({ mode: 'off' }), now).word).toBe('Off');
  expect(failoverSentence(state({ blocked: 'no replica is in step' }), now)).toMatchObject({ word: 'Blocked', sentence: 'no replica is in step' });
  expect(failoverSentence(state({ coolDownUntil: '2026-03-01T12:05:00Z' }), now).word).toBe('Cooling down');
  expect(failoverSentence(state({ coolDownUntil: '2026-03-01T11:55:00Z' }), now).word).toBe('Armed');
  expect(failoverSentence(state({ suspendedUntil: '2026-03-01T12:30:00Z', blocked: 'x' }), now).word).toBe('Paused');
  expect(failoverSentence(state({ decision: 'suspect', sentence: 'a is silent for 2 s' }), now)).toMatchObject({ word: 'Watching', sentence: 'a is silent for 2 s' });
});
