import type { CheckVerdict, ClusterSummary, NodeLevel, VerdictLevel } from '../api/types';

/** Four tones carry every state on the page; each has an icon and a word besides its color. */
export type Tone = 'ok' | 'warn' | 'bad' | 'unknown';

const order: Record<VerdictLevel, number> = { down: 0, 'at-risk': 1, degraded: 2, unknown: 3, healthy: 4 };

export const verdictTone: Record<VerdictLevel, Tone> = {
  healthy: 'ok',
  degraded: 'warn',
  'at-risk': 'warn',
  down: 'bad',
  unknown: 'unknown',
};

export const verdictWord: Record<VerdictLevel, string> = {
  healthy: 'Healthy',
  degraded: 'Degraded',
  'at-risk': 'At risk',
  down: 'Down',
  unknown: 'Unknown',
};

export const nodeTone: Record<NodeLevel, Tone> = { up: 'ok', degraded: 'warn', down: 'bad', unknown: 'unknown' };

export const checkTone: Record<CheckVerdict, Tone> = { pass: 'ok', warn: 'warn', refuse: 'bad', unknown: 'unknown' };

export const checkWord: Record<CheckVerdict, string> = { pass: 'Pass', warn: 'Warning', refuse: 'Refuses', unknown: 'Unknown' };

/** Worst first; equals by name, so that rows do not jump about. */
export function bySeverity(clusters: readonly ClusterSummary[]): ClusterSummary[] {
  return [...clusters].sort(
    (a, b) => (order[a.verdict.level] ?? 3) - (order[b.verdict.level] ?? 3) || a.name.localeCompare(b.name),
  );
}

/** How many clusters stand where, for the strip above the list. */
export function tally(clusters: readonly ClusterSummary[]): { healthy: number; risk: number; down: number; unknown: number } {
  const t = { healthy: 0, risk: 0, down: 0, unknown: 0 };
  for (const c of clusters) {
    if (c.verdict.level === 'healthy') t.healthy++;
    else if (c.verdict.level === 'down') t.down++;
    else if (c.verdict.level === 'unknown') t.unknown++;
    else t.risk++;
  }
  return t;
}

/** "Healthy: can lose 1 node" keeps its word once: the word is split off a sentence that already starts with it. */
export function splitVerdict(level: VerdictLevel, sentence: string): { word: string; rest: string; mark: ':' | '.' } {
  const word = verdictWord[level] ?? sentence;
  const prefix = /^([A-Za-z -]{2,12}):\s*/.exec(sentence);
  if (prefix && prefix[1]!.toLowerCase().replace('-', ' ') === word.toLowerCase()) {
    return { word, rest: sentence.slice(prefix[0].length), mark: ':' };
  }
  return { word, rest: sentence, mark: '.' };
}
