import type { Alert, AlertState } from '../../api/types';
import type { Tone } from '../../lib/severity';

export const stateWord: Record<AlertState, string> = { firing: 'Firing', acknowledged: 'Acknowledged', resolved: 'Resolved' };

export function alertTone(a: Pick<Alert, 'state' | 'severity'>): Tone {
  if (a.state === 'resolved') return 'ok';
  if (a.state === 'acknowledged') return 'unknown';
  return a.severity === 'critical' ? 'bad' : 'warn';
}

const order: Record<AlertState, number> = { firing: 0, acknowledged: 1, resolved: 2 };

/** What fires first, critical before warning, newest first. */
export function byUrgency(alerts: readonly Alert[] | null | undefined): Alert[] {
  return [...(alerts ?? [])].sort(
    (a, b) => (order[a.state] ?? 0) - (order[b.state] ?? 0) || Number(b.severity === 'critical') - Number(a.severity === 'critical') || Date.parse(b.since) - Date.parse(a.since),
  );
}

/** How many fire, and how bad the worst is. */
export function firing(alerts: readonly Alert[] | null | undefined): { count: number; critical: boolean } {
  const on = (alerts ?? []).filter((a) => a.state === 'firing');
  return { count: on.length, critical: on.some((a) => a.severity === 'critical') };
}
