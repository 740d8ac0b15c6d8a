// What to tell about a cluster that nobody leads and nothing will bring back by
// itself. Pure.

import type { ClusterDetail } from '../../api/types';

type Cluster = Pick<ClusterDetail, 'engine' | 'primary' | 'runningOperation' | 'failover' | 'nodes'>;

export interface Stranded {
  /** The node that the record names as the primary; empty when it names none. */
  recorded: string;
  /** What is seen of it, as its status says it. */
  seen: string;
  /** The replica that answers and holds the most; null when none answers. */
  best: string | null;
  /** The others that answer, with what they hold less than the best, in bytes. */
  behind: readonly { node: string; bytes: bigint }[];
  /** Nodes that do not answer, the recorded primary left out: they may hold more. */
  silent: readonly string[];
}

/**
 * Tells what stands where a Redis cluster has no primary, no operation runs and
 * automatic failover is off; null elsewhere. Positions are compared as they
 * were reported last; the server compares them again before anything moves.
 */
export function stranded(c: Cluster): Stranded | null {
  if (c.engine === 'eventstore' || c.primary !== null || c.runningOperation !== null || c.failover?.mode !== 'off') return null;
  const recorded = c.nodes.find((n) => n.shouldBe === 'primary');
  const others = c.nodes.filter((n) => n !== recorded);
  const answers = others
    .flatMap((n) => (n.position !== null && n.role === 'replica' ? [{ node: n.name, at: BigInt(n.position) }] : []))
    .sort((a, b) => (a.at === b.at ? (a.node < b.node ? -1 : 1) : a.at > b.at ? -1 : 1));
  const [best, ...rest] = answers;
  return {
    recorded: recorded?.name ?? '',
    seen: recorded?.status.sentence ?? '',
    best: best?.node ?? null,
    behind: best ? rest.map((r) => ({ node: r.node, bytes: best.at - r.at })) : [],
    silent: others.filter((n) => !answers.some((a) => a.node === n.name)).map((n) => n.name),
  };
}
