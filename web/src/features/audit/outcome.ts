import type { AuditOutcome } from '../../api/types';
import type { Tone } from '../../lib/severity';

export const outcomeTone: Record<AuditOutcome | 'cancelled', Tone> = { done: 'ok', cancelled: 'unknown', refused: 'warn', 'rolled-back': 'warn', running: 'unknown', failed: 'bad' };
export const outcomeWord: Record<AuditOutcome | 'cancelled', string> = { done: 'Done', cancelled: 'Cancelled', refused: 'Refused', 'rolled-back': 'Rolled back', running: 'Running', failed: 'Failed' };
