import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { Alert } from '../../api/types';

/** Alerts change rarely and are looked at long: asked for this often. */
const pollMs = 5000;

export function useAlerts() {
  return useGet<{ alerts: Alert[] | null }>(keys.alerts, '/alerts', { route: '/alerts', every: pollMs });
}
