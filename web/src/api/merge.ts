import type { InfiniteData } from '@tanstack/react-query';
import type { AuditPage, AuditRow, Operation, OperationState } from './types';

/** Whether nothing more will happen by itself. */
export function isOver(state: OperationState): boolean {
  return state === 'done' || state === 'rolled-back' || state === 'refused' || state === 'needs-human';
}

/** Steps that ended, for deciding which of two pictures of one operation is the later. */
function progress(op: Operation): number {
  let n = isOver(op.state) ? 10_000 : op.state === 'running' ? 1 : 0;
  for (const s of op.steps) n += (s.startedAt ? 1 : 0) + (s.endedAt ? 1 : 0);
  return n;
}

/**
 * mergeOperation keeps the later of two pictures of one operation. An answer
 * to a request and an event may arrive in either order; a finished operation
 * must not seem to run again. Equal progress takes the newer arrival.
 */
export function mergeOperation(old: Operation | undefined, next: Operation): Operation {
  if (!old || old.id !== next.id) return next;
  return progress(next) >= progress(old) ? next : old;
}

/** Rows that arrive as events are kept up to this many on the first page, so that a page left open does not grow. */
const maxFirstPage = 500;

/** Puts a row on top, or in the place of the row with its id. Nothing is invented while nothing was loaded. */
export function mergeAudit(
  old: InfiniteData<AuditPage, string> | undefined,
  row: AuditRow,
): InfiniteData<AuditPage, string> | undefined {
  const first = old?.pages[0];
  if (!old || !first) return old;
  const same = (r: AuditRow) =>
    r.id === row.id || (row.operationId !== null && r.operationId === row.operationId && r.outcome === 'running');
  if (old.pages.some((p) => p.rows.some(same))) {
    return { ...old, pages: old.pages.map((p) => ({ ...p, rows: p.rows.map((r) => (same(r) ? row : r)) })) };
  }
  return { ...old, pages: [{ ...first, rows: [row, ...first.rows].slice(0, maxFirstPage) }, ...old.pages.slice(1)] };
}
