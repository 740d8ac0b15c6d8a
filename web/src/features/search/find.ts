/** Something that the search can lead to. */
export interface Target {
  kind: 'cluster' | 'node' | 'page';
  label: string;
  /** What it belongs to or does, in a few words. */
  under: string;
  cluster?: string;
  node?: string;
  to?: string;
}

/** Most found things shown at once. */
export const maxFound = 12;

/**
 * find ranks targets for what was typed: names that begin with it, then names
 * that hold it, then names that hold its letters in order. Within a rank
 * clusters come before nodes, nodes before pages, short names before long.
 */
export function find(targets: readonly Target[], typed: string): Target[] {
  const words = typed.trim().toLowerCase();
  const kinds = { cluster: 0, node: 1, page: 2 };
  return targets
    .map((t) => ({ t, rank: words === '' ? 1 : rankOf(t, words) }))
    .filter((x) => x.rank < 4)
    .sort((a, b) => a.rank - b.rank || kinds[a.t.kind] - kinds[b.t.kind] || a.t.label.length - b.t.label.length || a.t.label.localeCompare(b.t.label, undefined, { numeric: true }))
    .slice(0, maxFound)
    .map((x) => x.t);
}

function rankOf(t: Target, typed: string): number {
  const name = t.label.toLowerCase();
  if (name.startsWith(typed)) return 0;
  if (name.includes(typed)) return 1;
  if (`${t.under} ${name}`.toLowerCase().includes(typed)) return 2;
  let at = 0;
  for (const letter of name) if (letter === typed[at]) at++;
  return at === typed.length ? 3 : 4;
}
