import type { AuditOutcome } from '../../api/types';
import type { Tone } from '../../lib/severity';

export const outcomeTone: Record<AuditOutcome, Tone> = { done: 'ok', refused: 'warn', 'rolled-back': 'warn', running: 'unknown', failed: 'bad' };
export const outcomeWord: Record<AuditOutcome, string> = { done: 'Done', refused: 'Refused', 'rolled-back': 'Rolled back', running: 'Running', failed: 'Failed' };
