import type { Plan } from '../../api/types';
import { cli } from '../../lib/cli';

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
  /** Ids of checks that were set aside; they need a reason. */
  overrides: readonly string[];
  reason: string;
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
  if (c.overrides.length > 0 && c.reason.trim() === '') return 'Setting a check aside needs a reason.';
  if (c.typedName === '') return `Type ${c.plan.node} to confirm.`;
  if (c.typedName !== c.plan.node) return `That is not ${c.plan.node}.`;
  return null;
}

/** Ids of the refusing checks that a person may set aside; empty unless every refusal is one of them. */
export function overridable(plan: Plan): string[] {
  const may = (id: string) => plan.report.checks.filter((c) => c.id === id && c.verdict !== 'pass').every((c) => c.overridable);
  const ids = [...new Set(plan.refusals.map((r) => r.code))];
  return ids.every((id) => plan.report.checks.some((c) => c.id === id) && may(id)) ? ids : [];
}

/** The command that does what the dialog's button does. */
export function cliLine(plan: Plan, cluster: string, reason: string, undoOf: string | null, overrides: readonly string[] = [], at = ''): string {
  const flags = { confirm: plan.node, override: overrides.join(','), reason: reason.trim(), at };
  return undoOf !== null ? cli.undo(undoOf, { confirm: plan.node, reason: reason.trim() }) : cli.promote(cluster, plan.node, flags);
}

/** The furthest a promotion may be scheduled ahead. */
const furthestMs = 30 * 86_400_000;

/** Why a promotion cannot be scheduled for a local date and time; null when it can, and for none. */
export function whyNotThen(local: string, now: number): string | null {
  if (local === '') return null;
  const t = new Date(local).getTime();
  if (Number.isNaN(t)) return 'That is not a time.';
  if (t < now + 60_000) return 'Give a time at least a minute ahead, or none.';
  return t > now + furthestMs ? 'Give a time within the next 30 days.' : null;
}
