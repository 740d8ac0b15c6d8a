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

const moves = new Set(['promotion', 'switch-back', 'failover', 'forced-promotion']);

/** Whether the operation moves the primary: only then stall, loss and roles are worth a place. */
export function movesPrimary(op: { kind: string }): boolean {
  return moves.has(op.kind);
}

const verbs: Record<string, string> = { 'switch-back': 'Switching back to', failover: 'Failing over to' };

/** Operations by kind, as nouns for lists and headlines. */
export const kindWord: Record<string, string> = {
  promotion: 'Promotion', 'switch-back': 'Switch back', failover: 'Failover', 'forced-promotion': 'Forced promotion',
  'create-cluster': 'Create cluster', 'adopt-cluster': 'Adopt cluster', 'add-node': 'Add node', 'remove-node': 'Remove node', 'delete-cluster': 'Delete cluster',
  configure: 'Configure', 'rolling-restart': 'Rolling restart', resync: 'Resync', maintenance: 'Maintenance', backup: 'Backup', restore: 'Restore', 'restore-drill': 'Restore drill',
};

/** What the operation is, without saying how it stands. */
export function titleOf(op: Operation): string {
  const word = kindWord[op.kind] ?? op.kind;
  return op.title || (op.node ? `${word}: ${op.node}` : `${word}: ${op.cluster}`);
}

/** One line that says what it is and how it stands. */
export function headline(op: Operation): string {
  if (!movesPrimary(op)) {
    const title = titleOf(op);
    switch (op.state) {
      case 'done':
        return `Done: ${title}`;
      case 'rolled-back':
        return `Rolled back: ${title}`;
      case 'refused':
        return `Refused: ${title}`;
      case 'needs-human':
        return `Needs a human: ${title}`;
      default:
        return title;
    }
  }
  const verb = verbs[op.kind] ?? 'Promoting';
  switch (op.state) {
    case 'done':
      return op.kind === 'switch-back' ? `Switched back to ${op.node}` : `${op.node} leads now`;
    case 'rolled-back':
      return `Rolled back: ${op.from || 'the old primary'} still leads`;
    case 'refused':
      return `Refused: ${op.node} was not promoted`;
    case 'needs-human':
      return `${kindWord[op.kind] ?? 'Promotion'} of ${op.node} needs a human`;
    default:
      return `${verb} ${op.node}`;
  }
}

/** Which side of the point of no return the operation is on, for people. */
export function side(op: Operation): { past: boolean; sentence: string } {
  if (op.state === 'rolled-back') return { past: false, sentence: 'Rolled back before the point of no return. Roles are as they were.' };
  if (op.state === 'refused') return { past: false, sentence: 'Refused before anything moved.' };
  if (!op.steps.some((s) => s.pointOfNoReturn)) {
    if (op.state === 'done') return { past: true, sentence: 'Finished. The primary did not change.' };
    if (op.state === 'needs-human') return { past: false, sentence: 'It stopped and does not go on by itself. The step that failed says why.' };
    return { past: false, sentence: 'It does not touch the primary. A step that fails is taken back.' };
  }
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
