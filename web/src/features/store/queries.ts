import { path } from '../../api/client';
import { useGet } from '../../api/query';
import type { ProjectionDetail, ProjectionList, ProjectionState, StoreLogin, StoreUserList, SubscriptionDetail, SubscriptionList } from './types';

/** Lag and states move: they are asked for this often, milliseconds. */
const movesMs = 2000;
const restsMs = 10_000;

/** Names of the caches of one event store. */
export const storeKeys = {
  all: (cluster: string) => ['store', cluster] as const,
  subscriptions: (cluster: string) => ['store', cluster, 'subscriptions'] as const,
  projections: (cluster: string) => ['store', cluster, 'projections'] as const,
  users: (cluster: string) => ['store', cluster, 'users'] as const,
  login: (cluster: string) => ['store', cluster, 'login'] as const,
};

const at = (cluster: string, what: string, query: Record<string, string> = {}) => {
  const q = new URLSearchParams(query).toString();
  return `${path('clusters', cluster)}/${what}${q && `?${q}`}`;
};

export function useSubscriptions(cluster: string, enabled = true) {
  return useGet<SubscriptionList>([...storeKeys.subscriptions(cluster), 'list'], at(cluster, 'subscriptions'), { route: '/clusters/{id}/subscriptions', every: movesMs, enabled });
}

export function useSubscription(cluster: string, stream: string, group: string) {
  return useGet<SubscriptionDetail>([...storeKeys.subscriptions(cluster), 'one', stream, group], at(cluster, 'subscriptions/info', { stream, group }), { route: '/clusters/{id}/subscriptions/info', every: movesMs });
}

export function useProjections(cluster: string, enabled = true) {
  return useGet<ProjectionList>([...storeKeys.projections(cluster), 'list'], at(cluster, 'projections'), { route: '/clusters/{id}/projections', every: movesMs, enabled });
}

export function useProjection(cluster: string, name: string) {
  return useGet<ProjectionDetail>([...storeKeys.projections(cluster), 'one', name], at(cluster, 'projections/info', { name }), { route: '/clusters/{id}/projections/info', every: movesMs });
}

export function useProjectionState(cluster: string, name: string, partition: string) {
  return useGet<ProjectionState>([...storeKeys.projections(cluster), 'state', name, partition], at(cluster, 'projections/state', { name, ...(partition && { partition }) }), { route: '/clusters/{id}/projections/state', every: movesMs });
}

export function useStoreUsers(cluster: string, enabled: boolean) {
  return useGet<StoreUserList>(storeKeys.users(cluster), at(cluster, 'store-users'), { route: '/clusters/{id}/store-users', every: restsMs, enabled });
}

export function useStoreLogin(cluster: string) {
  return useGet<StoreLogin>(storeKeys.login(cluster), at(cluster, 'store-login'), { route: '/clusters/{id}/store-login', every: restsMs });
}
