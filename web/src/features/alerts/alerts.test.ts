import type { Alert } from '../../api/types';
import { expect, it } from 'vitest';
import { alertTone, byUrgency, firing } from './alerts';

const alert = (id: string, over: Partial<Alert>): Alert => ({
  id, cluster: 'demo', node: '', kind: 'lag', severity: 'warning', state: 'firing', since: '2026-03-01T12:00:00Z', lastSeen: '2026-03-01T12:00:00Z', sentence: '', fix: '', acknowledgedBy: null, acknowledgedUntil: null, note: '', resolvedAt: null, ...over,
});

it('lists what fires first, critical before warning, newest first', () => {
  const list = byUrgency([
    alert('resolved', { state: 'resolved', severity: 'critical' }),
    alert('old', {}),
    alert('new', { since: '2026-03-01T12:05:00Z' }),
    alert('critical', { severity: 'critical' }),
    alert('known', { state: 'acknowledged', severity: 'critical' }),
  ]);
  expect(list.map((a) => a.id)).toEqual(['critical', 'new', 'old', 'known', 'resolved']);
});
it('counts only what fires', () => {
  expect(firing([alert('a', {}), alert('b', { state: 'acknowledged', severity: 'critical' })])).toEqual({ count: 1, critical: false });
  expect(firing(null)).toEqual({ count: 0, critical: false });
});
it('greys what was acknowledged', () => {
  expect(alertTone(alert('a', { state: 'acknowledged', severity: 'critical' }))).toBe('unknown');
});
