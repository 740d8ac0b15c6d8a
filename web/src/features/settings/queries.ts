import { path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { ClusterSettings, EngineUser, Parameter } from '../../api/types';

export function useClusterSettings(cluster: string) {
  return useGet<ClusterSettings>(keys.settings(cluster), path('clusters', cluster, 'settings'), { route: '/clusters/{id}/settings' });
}

export function useParameters(cluster: string) {
  return useGet<{ parameters: Parameter[] | null }>(keys.parameters(cluster), path('clusters', cluster, 'parameters'), { route: '/clusters/{id}/parameters', every: 10_000 });
}

export function useEngineUsers(cluster: string) {
  return useGet<{ users: EngineUser[] | null }>(keys.engineUsers(cluster), path('clusters', cluster, 'users'), { route: '/clusters/{id}/users' });
}
