import type { Check, CheckVerdict, Report } from '../../api/types';

const worst: Record<CheckVerdict, number> = { refuse: 0, unknown: 1, warn: 2, pass: 3 };

/** Checks in the order in which a person must read them: what refuses, what is unknown, what warns, what passes. */
export function redFirst(checks: readonly Check[] | null | undefined): Check[] {
  return [...(checks ?? [])].sort((a, b) => (worst[a.verdict] ?? 1) - (worst[b.verdict] ?? 1));
}

/** Ids of checks whose verdict differs between two reports, so that the dialog can mark what changed under the reader's eyes. */
export function changedChecks(before: Report | null, after: Report | null): Set<string> {
  const changed = new Set<string>();
  if (!before || !after) return changed;
  const old = new Map(before.checks.map((c) => [c.id, c.verdict]));
  for (const c of after.checks) if (old.get(c.id) !== c.verdict) changed.add(c.id);
  return changed;
}

/** "9 pass, 1 warning, 2 refuse" */
export function tallyChecks(checks: readonly Check[] | null | undefined): Record<CheckVerdict, number> {
  const t: Record<CheckVerdict, number> = { refuse: 0, unknown: 0, warn: 0, pass: 0 };
  for (const c of checks ?? []) t[c.verdict]++;
  return t;
}
