import type { AuditOutcome, AuditRow } from '../../api/types';
import { milliseconds, unknown } from '../../lib/format';
import { movesPrimary } from '../operations/operation';
import type { Tone } from '../../lib/severity';

export const outcomeTone: Record<AuditOutcome | 'cancelled', Tone> = { done: 'ok', cancelled: 'unknown', refused: 'warn', 'rolled-back': 'warn', running: 'unknown', failed: 'bad' };
export const outcomeWord: Record<AuditOutcome | 'cancelled', string> = { done: 'Done', cancelled: 'Cancelled', refused: 'Refused', 'rolled-back': 'Rolled back', running: 'Running', failed: 'Failed' };

/** Where something was asked for. */
export const sourceWord: Record<string, string> = { ui: 'Dashboard', cli: 'Command line', api: 'API', auto: 'By itself' };
/** The same within a sentence. */
export const sourcePhrase: Record<string, string> = { ui: 'in the dashboard', cli: 'on the command line', api: 'over the API', auto: 'by itself' };

/** How long writes stalled; what moved the primary without a measurement says so, for everything else there is nothing to measure. */
export function stallWords(row: Pick<AuditRow, 'stallMs' | 'outcome' | 'kind'>): string {
  if (row.stallMs !== null) return milliseconds(row.stallMs);
  return row.outcome === 'done' && movesPrimary({ kind: row.kind ?? '' }) ? 'not measured' : unknown;
}
