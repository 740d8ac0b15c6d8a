import { useQuery } from '@tanstack/react-query';
import { api, path } from '../../api/client';
import { usePollInterval } from '../../api/feed';
import { keys } from '../../api/keys';
import type { ClusterDetail, ClusterList } from '../../api/types';

export function useClusters() {
  const refetchInterval = usePollInterval();
  return useQuery({
    queryKey: keys.clusters,
    queryFn: async ({ signal }) => (await api.get<ClusterList>('/clusters', signal)).clusters,
    refetchInterval,
  });
}

export function useCluster(id: string) {
  const refetchInterval = usePollInterval();
  return useQuery({
    queryKey: keys.cluster(id),
    queryFn: ({ signal }) => api.get<ClusterDetail>(path('clusters', id), signal),
    refetchInterval,
  });
}
