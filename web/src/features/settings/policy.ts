import type { ClusterSettings, Policy, PolicyRequest } from '../../api/types';
import { whyNotCidrs } from '../wizard/names';

/** Why a policy cannot be saved; null when it can. The server checks again. */
export function whyNotPolicy(p: Policy, nodes: number): string | null {
  if (p.durability === 'sync' && (p.syncReplicas < 1 || p.syncReplicas > Math.max(1, nodes - 1))) return `Synchronous replicas: 1 to ${Math.max(1, nodes - 1)}.`;
  if (p.failover === 'bounded-loss' && p.maxLossBytes < 0) return 'The bytes that may be lost are 0 or more.';
  if (p.leaseTtlMs < 3000 || p.leaseTtlMs > 60_000) return 'The lease lasts 3000 to 60000 ms.';
  if (p.coolDownSeconds < 0) return 'The cool-down is 0 seconds or more.';
  if (p.backupKeep < 0 || p.backupKeep > 10_000) return 'Backups kept: 0 (all) to 10000.';
  return whyNotCidrs(p.allowCidrs ?? []);
}

/** What to send: the fields that differ, and the revision they were seen at, so that two people do not undo each other. */
export function changeOf(seen: Pick<ClusterSettings, 'policy' | 'revision'>, wanted: Policy): PolicyRequest {
  const change: Record<string, unknown> = { revision: seen.revision };
  for (const key of Object.keys(wanted) as (keyof Policy)[]) {
    if (JSON.stringify(wanted[key]) !== JSON.stringify(seen.policy[key]) && wanted[key] !== null) change[key] = wanted[key];
  }
  return change as PolicyRequest;
}

/** Whether two policies differ. */
export function changed(a: Policy, b: Policy): boolean {
  return JSON.stringify(a) !== JSON.stringify(b);
}
