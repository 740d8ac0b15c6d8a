import type { Tags } from '../../api/contract';
import type { ClusterNode } from '../../api/types';

/** What a node has beyond the generated shape. */
export interface NodeMore {
  tags?: Tags | null;
  /** In maintenance until then. */
  maintenanceUntil?: string | null;
}

export const defaultPriority = 100;

export function tagsOf(n: ClusterNode & NodeMore): Tags {
  return n.tags ?? { priority: n.priority, noFailover: false, never: false, noSync: false, noBackup: false };
}

/** Until when a node is in maintenance; null when it is not. */
export function maintenanceUntil(n: ClusterNode & NodeMore, now: number): string | null {
  const until = n.maintenanceUntil ?? n.tags?.maintenance ?? null;
  return until !== null && Date.parse(until) > now ? until : null;
}

/** Each tag as the words of its consequence. */
export const tagWords: Record<'noFailover' | 'never' | 'noSync' | 'noBackup', { word: string; consequence: string }> = {
  noFailover: { word: 'no failover', consequence: 'Never promoted by itself. A planned promotion still may.' },
  never: { word: 'never', consequence: 'Never promoted, not even by hand.' },
  noSync: { word: 'no sync', consequence: 'Its acknowledgment never counts for a synchronous write.' },
  noBackup: { word: 'no backup', consequence: 'Backups are read from other nodes.' },
};

/** The set tags as words, in a fixed order. */
export function setTags(t: Tags): string[] {
  return (Object.keys(tagWords) as (keyof typeof tagWords)[]).filter((k) => t[k]).map((k) => tagWords[k].word);
}
