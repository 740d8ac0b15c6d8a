import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { Waiting } from '../../api/types';

const pollMs = 5000;

export function useApprovals() {
  return useGet<{ approvals: Waiting[] | null }>(keys.approvals, '/approvals', { route: '/approvals', every: pollMs });
}

/** Whether a request still waits for its second person. */
export function waits(a: Pick<Waiting, 'state'>): boolean {
  return a.state === 'awaiting-approval';
}

/** How many requests wait for a second person. */
export function usePending(): number {
  return (useApprovals().data?.approvals ?? []).filter(waits).length;
}
