import { useQuery } from '@tanstack/react-query';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { HostList, HostTask, MachineList, ProviderAccountList, ProviderOptions } from '../../api/types';
import { moves } from './machine';

/** Hosts have no events of their own; their reports are asked for this often while someone looks. */
const pollMs = 2000;
/** Machines at rest change only when somebody asks for it. */
const restMs = 15_000;

export function useHosts() {
  return useQuery({
    queryKey: keys.hosts,
    queryFn: async ({ signal }) => (await api.get<HostList>('/hosts', signal)).hosts,
    refetchInterval: pollMs,
  });
}

/** Access to providers that make machines; only people who may act see it. */
export function useAccounts(enabled: boolean) {
  return useGet<ProviderAccountList>(keys.providerAccounts, '/provider-accounts', { route: '/provider-accounts', enabled });
}

/** What can be made with an account, at a place. */
export function useOptions(account: string, location: string) {
  return useGet<ProviderOptions>(keys.providerOptions(account, location), `${path('provider-accounts', account, 'options')}?location=${encodeURIComponent(location)}`, { route: '/provider-accounts/{name}/options', enabled: account !== '' });
}

/** The machines that were asked for, often while one is on its way. */
export function useMachines(enabled: boolean) {
  return useQuery({
    queryKey: keys.machines,
    queryFn: async ({ signal }) => (await api.get<MachineList>('/machines', signal)).machines,
    enabled,
    refetchInterval: (q) => (q.state.data?.some(moves) ? pollMs : restMs),
  });
}

/** How an installation over SSH goes, until its end. */
export function useHostTask(id: string) {
  return useQuery({
    queryKey: keys.hostTask(id),
    queryFn: ({ signal }) => api.get<HostTask>(path('hosts', 'tasks', id), signal),
    enabled: id !== '',
    refetchInterval: (q) => (q.state.data === undefined || q.state.data.state === 'running' ? 1000 : false),
  });
}
