import { useInfiniteQuery } from '@tanstack/react-query';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import type { AuditPage } from '../../api/types';

const pageSize = 50;

/** The audit, newest first, page by page towards the past. New rows arrive as events. */
export function useAudit(cluster: string) {
  return useInfiniteQuery({
    queryKey: keys.audit(cluster),
    initialPageParam: '',
    queryFn: async ({ pageParam, signal }): Promise<AuditPage> => {
      const before = pageParam === '' ? '' : `&before=${encodeURIComponent(pageParam)}`;
      return api.get<AuditPage>(`${path('clusters', cluster, 'audit')}?limit=${pageSize}${before}`, signal);
    },
    getNextPageParam: (last): string | undefined => last.next || undefined,
  });
}
