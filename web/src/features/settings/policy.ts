import type { Policy } from '../../api/contract';
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

/** Whether the address one looks from would be locked out; null when no address of one's own is known. */
export function changed(a: Policy, b: Policy): boolean {
  return JSON.stringify(a) !== JSON.stringify(b);
}
