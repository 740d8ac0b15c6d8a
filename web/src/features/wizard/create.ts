import type { CreateClusterRequest, EngineOffer, HostEntry } from '../../api/types';
import { whyNotCidrs, whyNotName } from './names';

export const stepNames = ['Name', 'Engine', 'Nodes', 'Safety', 'Review'] as const;

export interface Draft {
  name: string;
  engine: string;
  version: string;
  /** Agents, one a node, in order; the first becomes the primary. */
  agents: string[];
  memoryMiB: number | null;
  durability: 'async' | 'sync';
  cidrs: string[];
  deletionProtection: boolean;
}

export const emptyDraft: Draft = { name: '', engine: '', version: '', agents: [], memoryMiB: 256, durability: 'async', cidrs: [], deletionProtection: true };

/** Fewest and most nodes the wizard makes at once. */
export const maxNodes = 7;

/** Why a step cannot be left; null when it can. */
export function whyNotStep(d: Draft, step: number, taken: readonly string[]): string | null {
  switch (step) {
    case 0:
      return taken.includes(d.name) ? `There is a cluster ${d.name} already.` : whyNotName(d.name);
    case 1:
      return d.engine === '' ? 'Choose an engine.' : d.version === '' ? 'Choose a version.' : null;
    case 2:
      return d.agents.length === 0 ? 'Choose at least one host.' : d.agents.length > maxNodes ? `At most ${maxNodes} nodes at once.` : null;
    case 3:
      if (d.memoryMiB === null || d.memoryMiB < 16) return 'Give each node at least 16 MiB.';
      if (d.durability === 'sync' && d.agents.length < 2) return 'Synchronous writes need a second node.';
      return whyNotCidrs(d.cidrs);
    default:
      return null;
  }
}

/** Names of the nodes: cluster-1, cluster-2, … */
export function nodeNames(d: Draft): string[] {
  return d.agents.map((_, i) => `${d.name}-${i + 1}`);
}

export function requestOf(d: Draft): CreateClusterRequest {
  return {
    name: d.name, engine: d.engine, version: d.version, memoryBytes: (d.memoryMiB ?? 0) * 2 ** 20, durability: d.durability, allowCidrs: d.cidrs, deletionProtection: d.deletionProtection,
    nodes: d.agents.map((agent, i) => ({ name: `${d.name}-${i + 1}`, agent })),
  };
}

/** What the choice of hosts comes to: what dies with one machine. */
export function spread(agents: readonly string[]): { tone: 'ok' | 'warn'; sentence: string } {
  const hosts = new Set(agents).size;
  if (agents.length === 1) return { tone: 'warn', sentence: 'One node: nothing can take over when it dies.' };
  if (hosts === 1) return { tone: 'warn', sentence: 'All nodes on one machine: it survives a crashed process, not a lost machine.' };
  if (agents.length === 2) return { tone: 'warn', sentence: 'Two nodes: after one loss the other stands alone. Three are the usual choice.' };
  if (agents.length % 2 === 0) return { tone: 'warn', sentence: `${agents.length} nodes survive no more losses than ${agents.length - 1}: an even count adds cost, not safety.` };
  return { tone: 'ok', sentence: `${agents.length} nodes on ${hosts} machines: one may be lost and writes go on.` };
}

/** What will run, as one sees it before it does. The server plans again. */
export function reviewSteps(d: Draft): string[] {
  const names = nodeNames(d);
  const [first, ...others] = names;
  return [
    `Check ${d.agents.length === 1 ? 'the host' : 'each host'}: ${d.engine} ${d.version} is there, memory and ports are free`,
    ...names.map((n, i) => `Start ${n} on ${d.agents[i]} with an account and password of its own`),
    ...(others.length > 0 ? [`Let ${others.join(', ')} follow ${first} and wait until ${others.length === 1 ? 'it is' : 'they are'} in step`] : []),
    `Write through ${first} and read it back from each node`,
    'Watch it from then on',
  ];
}

/** Connected hosts on which a version stands, the emptiest first. */
export function hostsFor(hosts: readonly HostEntry[], engines: readonly EngineOffer[], engine: string, version: string): HostEntry[] {
  const with_ = engines.find((e) => e.engine === engine)?.versions?.find((v) => v.version === version)?.hosts ?? [];
  return hosts
    .filter((h) => h.connected !== false)
    .filter((h) => with_.includes(h.agent) || (h.id !== undefined && with_.includes(h.id)) || with_.includes(h.name))
    .sort((a, b) => (a.instances?.length ?? 0) - (b.instances?.length ?? 0) || a.name.localeCompare(b.name));
}
