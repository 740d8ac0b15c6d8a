// What a machine that was asked for is shown as. Pure.

import type { Machine, ProviderOptions } from '../../api/types';
import { bytes } from '../../lib/format';
import type { Tone } from '../../lib/severity';

/** The most machines that one dialog asks for. */
export const maxMachines = 9;

/** The names of several machines: one keeps its name, more are numbered from 1. */
export function namesOf(name: string, count: number): string[] {
  return count <= 1 ? [name] : Array.from({ length: count }, (_, i) => `${name}-${i + 1}`);
}

/** The steps of making one, in order, as they are told to people. */
export const steps = [
  { step: 'make', doing: 'The provider is asked' },
  { step: 'boot', doing: 'It boots' },
  { step: 'join', doing: 'Its agent joins' },
] as const;

export interface Progress {
  tone: Tone;
  word: string;
  /** How many of the steps are over; null where they do not tell anything any more. */
  over: number | null;
  /** What happens or happened, one sentence. */
  detail: string;
}

/** How far a machine is. */
export function progress(m: Pick<Machine, 'state' | 'why' | 'steps'>): Progress {
  const last = m.steps.at(-1);
  const at = last ? steps.findIndex((s) => s.step === last.step) : 0;
  switch (m.state) {
    case 'making':
      return { tone: 'unknown', word: steps[Math.max(at, 0)]?.doing ?? '', over: Math.max(at, 0), detail: last?.detail ?? 'It waits for its turn.' };
    case 'ready':
      return { tone: 'ok', word: 'Joined', over: null, detail: '' };
    case 'failed':
      return { tone: 'bad', word: 'Failed', over: null, detail: m.why };
    case 'deleting':
      return { tone: 'unknown', word: 'Being deleted', over: null, detail: '' };
    case 'deleted':
      return { tone: 'unknown', word: 'Deleted', over: null, detail: '' };
  }
}

/** Whether a machine is still on its way, so that somebody who looks wants news. */
export function moves(m: Pick<Machine, 'state'>): boolean {
  return m.state === 'making' || m.state === 'deleting';
}

type Size = ProviderOptions['sizes'][number];

/** A size in one line: what it has and what it costs. */
export function sizeLabel(s: Size): string {
  const parts = [`${s.cores} cores`, bytes(s.memoryBytes), `${bytes(s.diskBytes)} disk`, s.arch];
  return `${s.title || s.name}: ${parts.join(', ')}${s.monthlyPrice ? `, ${s.monthlyPrice} a month` : ''}`;
}

/** A place in one line. */
export function placeLabel(p: ProviderOptions['locations'][number]): string {
  return `${p.title || p.name}${p.country ? `, ${p.country}` : ''} (${p.name})`;
}

/** Providers by kind, as people call them. */
export const providers = [{ kind: 'hetzner', title: 'Hetzner Cloud', console: 'Console, project, Security, API tokens: with the right to read and write' }] as const;

export function providerTitle(kind: string): string {
  return providers.find((p) => p.kind === kind)?.title ?? kind;
}
