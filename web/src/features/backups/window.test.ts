import type { Backup } from '../../api/types';
import { expect, it } from 'vitest';
import { gaps, scheduleMs, scheduleWords } from './window';

const hour = 3_600_000;
const now = Date.parse('2026-03-10T00:00:00Z');
const taken = (hoursAgo: number, state: Backup['state'] = 'done'): Backup => ({
  id: `b-${hoursAgo}`, at: new Date(now - hoursAgo * hour).toISOString(), node: '', kind: 'rdb', bytes: 1, keys: 1, position: '', sha256: '', encrypted: true, state, damaged: false, why: '', reason: '', engineVersion: '', onPrimary: false, cli: '', verifiedAt: null, verifiedHow: '', restoreMs: null, operationId: '', target: '',
});

it('marks a time without a restorable backup longer than twice the schedule', () => {
  const list = [taken(1), taken(25), taken(49, 'failed'), taken(73), taken(97)];
  expect(gaps(list, '@every 24h', now)).toEqual([]);
  expect(gaps([taken(1), taken(73), taken(97)], '@every 24h', now)).toEqual([{ fromMs: now - 73 * hour, toMs: now - hour }]);
});
it('does not count a damaged one', () => {
  expect(gaps([taken(1), { ...taken(25), damaged: true }, taken(73)], '@every 24h', now)).toHaveLength(1);
});
it('counts the time since the newest', () => {
  expect(gaps([taken(60)], '0 3 * * *', now)).toEqual([{ fromMs: now - 60 * hour, toMs: now }]);
  expect(gaps([], '@every 1h', now)).toEqual([]);
});
it('reads schedules', () => {
  expect(scheduleMs('@every 1h30m')).toBe(1.5 * hour);
  expect(scheduleMs('0 3 * * *')).toBe(24 * hour);
  expect(scheduleMs('*/7 1-5 * * 2')).toBeNull();
  expect(scheduleWords('0 3 * * *')).toBe('each day at 03:00');
  expect(scheduleWords('@every 24h')).toBe('every day');
  expect(scheduleWords('@every 168h')).toBe('every 7 days');
  expect(scheduleWords('@every 36h')).toBe('every 36 h');
  expect(scheduleWords('')).toBe('only by hand');
});
