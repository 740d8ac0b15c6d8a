import type { FailoverState, Lease, LeaseState } from '../../api/types';
import type { Tone } from '../../lib/severity';

export const leaseTone: Record<LeaseState, Tone> = { held: 'ok', 'at-risk': 'warn', expired: 'bad', released: 'unknown', none: 'unknown' };

/** The lease in words: who holds it, and what follows when nobody renews it. */
export function leaseSentence(l: Lease): string {
  switch (l.state) {
    case 'held':
      return `${l.holder} holds the lease and renews it. If it cannot, it stops taking writes before anyone else may lead.`;
    case 'at-risk':
      return `${l.holder} has not renewed its lease. If it does not soon, it stops taking writes by itself.`;
    case 'expired':
      return `The lease of ${l.holder} ran out: it takes no writes any more, and another node may lead.`;
    case 'released':
      return 'The lease was given back, as in a planned promotion.';
    default:
      return 'No lease is in force: nothing fences the primary by itself.';
  }
}

/** How the cluster stands towards failing over by itself. */
export function failoverSentence(f: FailoverState, now: number): { tone: Tone; word: string; sentence: string } {
  if (f.decision === 'failover' || f.decision === 'restart') return { tone: 'warn', word: f.decision === 'failover' ? 'Failing over' : 'Restarting', sentence: f.sentence || 'The primary is gone; it is being replaced.' };
  if (f.decision === 'suspect' || f.decision === 'waiting') return { tone: 'warn', word: 'Watching', sentence: f.sentence || 'The primary may be gone; it is not certain yet.' };
  const left = (at: string | null) => (at === null ? 0 : Math.max(0, Date.parse(at) - now));
  if (left(f.suspendedUntil) > 0) return { tone: 'warn', word: 'Paused', sentence: 'Automatic failover is paused: if the primary dies, somebody must promote by hand.' };
  if (f.blocked) return { tone: 'warn', word: 'Blocked', sentence: f.blocked };
  if (left(f.coolDownUntil) > 0) return { tone: 'warn', word: 'Cooling down', sentence: 'A failover happened a short while ago. Another waits until this ends, or until you acknowledge the first.' };
  if (f.mode === 'off') return { tone: 'unknown', word: 'Off', sentence: 'Nothing fails over by itself: if the primary dies, somebody must promote by hand.' };
  return f.mode === 'bounded-loss'
    ? { tone: 'ok', word: 'Armed', sentence: 'If the primary dies, the best replica takes over, even if a bounded number of writes is lost.' }
    : { tone: 'ok', word: 'Armed', sentence: 'If the primary dies, a replica that holds every acknowledged write takes over.' };
}
