import type { Check, CheckVerdict, Report } from '../../api/types';

const worst: Record<CheckVerdict, number> = { refuse: 0, unknown: 1, warn: 2, pass: 3 };

/** Checks in the order in which a person must read them: what refuses, what is unknown, what warns, what passes. */
export function redFirst(checks: readonly Check[] | null | undefined): Check[] {
  return [...(checks ?? [])].sort((a, b) => (worst[a.verdict] ?? 1) - (worst[b.verdict] ?? 1));
}

/** One check is made for several nodes: its id alone does not name it. */
export function keyOf(c: Check): string {
  return `${c.id} ${c.subject}`;
}

/** Keys of checks whose verdict differs between two reports, so that the dialog can mark what changed under the reader's eyes. */
export function changedChecks(before: Report | null, after: Report | null): Set<string> {
  const changed = new Set<string>();
  if (!before || !after) return changed;
  const old = new Map(before.checks.map((c) => [keyOf(c), c.verdict]));
  for (const c of after.checks) if (old.get(keyOf(c)) !== c.verdict) changed.add(keyOf(c));
  return changed;
}

/** "9 pass, 1 warning, 2 refuse" */
export function tallyChecks(checks: readonly Check[] | null | undefined): Record<CheckVerdict, number> {
  const t: Record<CheckVerdict, number> = { refuse: 0, unknown: 0, warn: 0, pass: 0 };
  for (const c of checks ?? []) t[c.verdict]++;
  return t;
}

/**
 * The reason without the "yes" or "no" it may start with, for places where a
 * badge says that already: "no, because it is down" gives "it is down".
 */
export function bareReason(reason: string): string {
  return reason.replace(/^(yes|no)\b[,.:;]?\s*(because\s+)?/i, '').replace(/1 warning\(s\)/, '1 warning').replace('warning(s)', 'warnings');
}
