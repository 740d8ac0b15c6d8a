import { path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { LostWrites, WhatIf } from '../../api/types';

export function useWhatIf(cluster: string, node: string) {
  return useGet<WhatIf>(keys.whatIf(cluster, node), `${path('clusters', cluster, 'what-if')}?node=${encodeURIComponent(node)}`, { route: '/clusters/{id}/what-if', enabled: node !== '' });
}

export function useLostWrites(cluster: string) {
  return useGet<LostWrites>(keys.lostWrites(cluster), path('clusters', cluster, 'lost-writes'), { route: '/clusters/{id}/lost-writes', every: 15_000 });
}
