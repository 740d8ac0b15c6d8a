import { expect, it } from 'vitest';
import { behind, groupsOf, progressText, projectionTone, subscriptionsSentence, subscriptionState, templates, usualSettings, whyNotProjection, whyNotSettings, whyNotSubscription } from './store';
import type { Subscription } from './types';

const sub = (over: Partial<Subscription>): Subscription => ({
  stream: 'orders', group: 'billing', state: 'live', replaying: false, status: 'Live', strategy: 'RoundRobin', consumers: 1, lagEvents: '0', lagBytes: null, inFlight: 0, retrying: 0, outstanding: 0, parked: '0', oldestParked: null, perSecond: 0, total: '0', checkpoint: '', known: '', ...over,
});

it('says how far behind, and unknown as unknown', () => {
  expect(behind({ lagEvents: '0', lagBytes: null })).toBe('Nothing');
  expect(behind({ lagEvents: '1', lagBytes: null })).toBe('1 event');
  expect(behind({ lagEvents: null, lagBytes: '2048' })).toMatch(/of log$/);
  expect(behind({ lagEvents: null, lagBytes: null })).toBe('Not known');
});

it('calls what waits for nobody by its name', () => {
  expect(subscriptionState(sub({}))).toEqual({ tone: 'ok', word: 'Live' });
  expect(subscriptionState(sub({ consumers: 0 }))).toEqual({ tone: 'unknown', word: 'Idle' });
  expect(subscriptionState(sub({ consumers: 0, lagEvents: '4' }))).toEqual({ tone: 'warn', word: 'No consumer' });
  expect(subscriptionState(sub({ state: 'behind', lagEvents: '4' }))).toEqual({ tone: 'warn', word: 'Behind' });
  expect(subscriptionState(sub({ state: 'faulted' })).tone).toBe('bad');
  expect(subscriptionsSentence([sub({}), sub({ state: 'faulted', parked: '3' })])).toBe('2 subscriptions, 1 needs a look, 3 events are parked.');
  expect(subscriptionsSentence([sub({})])).toBe('1 subscription, each keeps up, nothing is parked.');
});

it('refuses settings the server would refuse', () => {
  expect(whyNotSettings(usualSettings)).toBeNull();
  for (const wrong of [{ readBatch: 500 }, { maxRetries: null }, { messageTimeoutMs: -1 }, { maxCheckpoint: 5 }, { liveBuffer: 1.5 }]) expect(whyNotSettings({ ...usualSettings, ...wrong })).not.toBeNull();
  expect(whyNotSettings({ ...usualSettings, messageTimeoutMs: 0 })).toBeNull();
});

it('knows where a subscription may begin', () => {
  for (const [stream, from] of [['orders', 'end'], ['orders', '7'], ['$all', 'start'], ['$all', 'C:1/P:1']] as const) expect(whyNotSubscription(stream, 'g', from)).toBeNull();
  for (const [stream, name, from] of [['', 'g', 'end'], ['orders', ' ', 'end'], ['orders', 'g', 'C:1/P:1'], ['$all', 'g', '7'], ['orders', 'g', '-1']] as const) expect(whyNotSubscription(stream, name, from)).not.toBeNull();
});

it('puts projections in words', () => {
  expect(progressText(null)).toBe('Not known');
  expect(progressText(41.26)).toBe('41.3 %');
  expect(progressText(99.99)).toBe('100 %');
  expect(projectionTone({ state: 'faulted' })).toBe('bad');
  for (const t of templates) expect(whyNotProjection('p', t.query)).toBeNull();
  for (const [name, query] of [['', 'x'], ['$p', 'x'], ['p', ' ']] as const) expect(whyNotProjection(name, query)).not.toBeNull();
});

it('reads groups from a line', () => {
  expect(groupsOf('$admins, readers  $admins,')).toEqual(['$admins', 'readers']);
  expect(groupsOf(' ')).toEqual([]);
});
