import { useQuery, useQueryClient } from '@tanstack/react-query';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { isOver, mergeOperation } from '../../api/merge';
import type { Operation } from '../../api/types';

/** While an operation runs its picture is asked for as well, in case an event was missed. */
const runningPollMs = 1000;

export function useOperation(id: string | null) {
  const client = useQueryClient();
  return useQuery({
    queryKey: keys.operation(id ?? ''),
    queryFn: async ({ signal }) => {
      const next = await api.get<Operation>(path('operations', id ?? ''), signal);
      return mergeOperation(client.getQueryData<Operation>(keys.operation(next.id)), next);
    },
    enabled: id !== null,
    refetchInterval: (query) => (query.state.data && isOver(query.state.data.state) ? false : runningPollMs),
  });
}
