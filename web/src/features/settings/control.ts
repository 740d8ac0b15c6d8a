import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { ControlHealth } from '../../api/types';
import type { Tone } from '../../lib/severity';

const pollMs = 5000;

export function useControl() {
  return useGet<ControlHealth>(keys.control, '/control', { route: '/control', every: pollMs });
}

/** What the frame says about the control plane: up of total, the leader and its term, how bad it is. */
export function controlSign(c: ControlHealth): { up: number; total: number; tone: Tone; leader: string } {
  const nodes = c.nodes ?? [];
  const up = nodes.filter((n) => n.up).length;
  const tone: Tone = c.quorum.alive < c.quorum.needed ? 'bad' : up < nodes.length ? 'warn' : 'ok';
  return { up, total: nodes.length, tone, leader: c.leader ? `${c.leader} leads, term ${c.term}` : 'no leader' };
}
