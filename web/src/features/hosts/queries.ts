import { useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import { keys } from '../../api/keys';
import type { HostList } from '../../api/types';

/** Hosts have no events of their own; their reports are asked for this often while someone looks. */
const pollMs = 2000;

export function useHosts() {
  return useQuery({
    queryKey: keys.hosts,
    queryFn: async ({ signal }) => (await api.get<HostList>('/hosts', signal)).hosts,
    refetchInterval: pollMs,
  });
}
