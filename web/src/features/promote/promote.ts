import type { Plan } from '../../api/types';
import { shellQuote } from '../../lib/shell';

/** Reports older than this are refused by the server; the dialog asks for a fresh one well before. */
export const reportMaxAgeMs = 30_000;
export const refreshPlanMs = 10_000;

export interface Confirmation {
  plan: Plan | null;
  typedName: string;
  /** A request is under way. */
  busy: boolean;
  /** Age of the report on the screen. */
  reportAgeMs: number | null;
  /** Whether the person may promote at all. */
  allowed: boolean;
}

/** Why the Promote button is off; null when it is on. The server checks all of it again. */
export function whyNotYet(c: Confirmation): string | null {
  if (c.busy) return 'Sending…';
  if (!c.allowed) return 'Your role may look, not promote. Ask for the role operator.';
  if (c.plan === null) return 'Waiting for the report.';
  if (c.plan.refused) return 'The checks refuse this promotion.';
  if (c.reportAgeMs !== null && c.reportAgeMs > reportMaxAgeMs) return 'The report is too old; a fresh one is on its way.';
  if (c.typedName === '') return `Type ${c.plan.node} to confirm.`;
  if (c.typedName !== c.plan.node) return `That is not ${c.plan.node}.`;
  return null;
}

/** The command that does what the dialog's button does. */
export function cliLine(plan: Plan, cluster: string, reason: string, undoOf: string | null): string {
  const base =
    undoOf !== null
      ? `baton undo ${shellQuote(undoOf)} --confirm ${shellQuote(plan.node)}`
      : plan.cli || `baton promote ${shellQuote(cluster)} ${shellQuote(plan.node)} --confirm ${shellQuote(plan.node)}`;
  return reason.trim() === '' ? base : `${base} --reason ${shellQuote(reason.trim())}`;
}
