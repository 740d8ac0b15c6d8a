import type { Capability, ClusterDetail } from '../../api/types';

/** Why an act is impossible for a cluster, whatever its state; null where it is possible. */
export function whyNot(cluster: Pick<ClusterDetail, 'capabilities'>, action: Capability['action']): string | null {
  const c = cluster.capabilities.find((x) => x.action === action);
  return c === undefined || c.ok ? null : c.why;
}
