import { useQuery } from '@tanstack/react-query';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import type { Report } from '../../api/types';

/** The report is measured anew this often while it is looked at. */
const reportEveryMs = 3000;

export function useReport(cluster: string, node: string) {
  return useQuery({
    queryKey: keys.report(cluster, node),
    queryFn: ({ signal }) => api.get<Report>(path('clusters', cluster, 'nodes', node, 'report'), signal),
    refetchInterval: reportEveryMs,
  });
}
