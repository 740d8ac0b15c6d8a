import type { ClusterNode, Tags } from '../../api/types';

export const defaultPriority = 100;

/** Until when a node is in maintenance; null when it is not. */
export function maintenanceUntil(n: Pick<ClusterNode, 'tags'>, now: number): string | null {
  const until = n.tags.maintenance;
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
