import type { Operation, OperationState, OperationStep } from '../../api/types';
import { isOver } from '../../api/merge';
import type { Tone } from '../../lib/severity';

export const stateTone: Record<OperationState, Tone> = {
  requested: 'unknown',
  running: 'unknown',
  done: 'ok',
  'rolled-back': 'warn',
  refused: 'warn',
  'needs-human': 'bad',
};

export const stateWord: Record<OperationState, string> = {
  requested: 'Requested',
  running: 'Running',
  done: 'Done',
  'rolled-back': 'Rolled back',
  refused: 'Refused',
  'needs-human': 'Needs a human',
};

/** The step to look at: the running one, else the last that began, else the first. */
export function currentStep(op: Operation): OperationStep | null {
  const steps = op.steps;
  return steps.find((s) => s.state === 'running') ?? steps.findLast((s) => s.startedAt) ?? steps[0] ?? null;
}

/** Which side of the point of no return the operation is on, for people. */
export function side(op: Operation): { past: boolean; sentence: string } {
  if (op.state === 'rolled-back') return { past: false, sentence: 'Rolled back before the point of no return. Roles are as they were.' };
  if (op.state === 'refused') return { past: false, sentence: 'Refused before anything moved.' };
  if (op.state === 'done') return { past: true, sentence: 'Finished past the point of no return.' };
  if (op.state === 'needs-human') {
    return op.pastPointOfNoReturn
      ? { past: true, sentence: 'Stopped past the point of no return. Finish it by hand; do not go back.' }
      : { past: false, sentence: 'Stopped before the point of no return. The old primary is still the one that counts.' };
  }
  return op.pastPointOfNoReturn
    ? { past: true, sentence: 'Past the point of no return: whatever fails now is completed forward.' }
    : { past: false, sentence: 'Before the point of no return: whatever fails now is rolled back.' };
}

/** Steps from here on hold writes back; the last of them that ended lets them go. */
const stallBegins = /pause|fence|transfer/;

export interface StallClock {
  /** before: writes flow; running: writes are held back now; after: they flow again. */
  phase: 'before' | 'running' | 'after';
  /** Milliseconds of stall so far. */
  ms: number;
  /** Whether ms comes from the probe writer rather than from the steps' times. */
  measured: boolean;
}

/** stallClock says how long writes have been held back, live from the steps' times until the probe's measurement is in. */
export function stallClock(op: Operation, nowMs: number): StallClock {
  const measured = op.stall?.longestGapMs ?? op.stall?.probeMs ?? null;
  if (isOver(op.state) && measured !== null) return { phase: 'after', ms: measured, measured: true };
  const steps = op.steps;
  const from = steps.find((s) => s.startedAt && stallBegins.test(`${s.id} ${s.title}`.toLowerCase()));
  if (!from?.startedAt) return { phase: isOver(op.state) ? 'after' : 'before', ms: measured ?? 0, measured: measured !== null };
  const begin = Date.parse(from.startedAt);
  const turn = steps.find((s) => s.pointOfNoReturn && s.endedAt);
  const end = turn?.endedAt ?? (isOver(op.state) ? op.endedAt : null);
  if (end) {
    return measured !== null
      ? { phase: 'after', ms: measured, measured: true }
      : { phase: 'after', ms: Math.max(0, Date.parse(end) - begin), measured: false };
  }
  return { phase: 'running', ms: Math.max(0, nowMs - begin), measured: false };
}

/** Milliseconds a step took, or has taken so far; null while it waits. */
export function stepMs(step: OperationStep, nowMs: number): number | null {
  if (!step.startedAt) return null;
  return Math.max(0, (step.endedAt ? Date.parse(step.endedAt) : nowMs) - Date.parse(step.startedAt));
}

/** Nodes whose role differs, with both roles; nodes that kept theirs come last. */
export function roleChanges(op: Operation): { node: string; before: string; after: string; changed: boolean }[] {
  const before = new Map(op.rolesBefore.map((r) => [r.node, r.role]));
  const after = new Map(op.rolesAfter.map((r) => [r.node, r.role]));
  return [...new Set([...before.keys(), ...after.keys()])]
    .map((node) => {
      const b = before.get(node) ?? 'unknown';
      const a = after.get(node) ?? 'unknown';
      return { node, before: b, after: a, changed: a !== b };
    })
    .sort((x, y) => Number(y.changed) - Number(x.changed) || x.node.localeCompare(y.node));
}
