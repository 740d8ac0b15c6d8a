import { keepPreviousData, useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import type { Plan, PromotionAccepted, PromotionRequest } from '../../api/types';
import { refreshPlanMs } from './promote';


/** The plan and its report, made anew while the dialog is open, so that what is confirmed is what was last seen. */
export function usePlan(cluster: string, node: string, overrides: readonly string[], paused: boolean) {
  return useQuery({
    queryKey: keys.plan(cluster, node, overrides),
    queryFn: () => api.post<Plan>(path('clusters', cluster, 'plan'), { node, ...(overrides.length > 0 ? { overrides } : {}) }),
    // A changed set of overrides keeps the old plan on the screen until the new one is there.
    placeholderData: keepPreviousData,
    refetchInterval: paused ? false : refreshPlanMs,
    refetchOnWindowFocus: !paused,
    staleTime: 0,
    gcTime: 0,
  });
}

export function usePromotion(cluster: string, undoOf: string | null) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (request: PromotionRequest) => {
      if (undoOf === null || request.dryRun) return api.post<PromotionAccepted>(path('clusters', cluster, 'promotions'), request);
      const { typedName, reportHash, generation, reason } = request;
      return api.post<PromotionAccepted>(path('operations', undoOf, 'undo'), { typedName, reportHash, generation, reason });
    },
    onSettled: () => {
      void client.invalidateQueries({ queryKey: keys.audit(cluster) });
      void client.invalidateQueries({ queryKey: keys.schedules(cluster) });
      void client.invalidateQueries({ queryKey: keys.approvals });
    },
  });
}
