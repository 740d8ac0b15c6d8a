import { useMutation, useQuery, useQueryClient, type QueryKey } from '@tanstack/react-query';
import { api } from './client';
import { has } from './capabilities';

interface GetOptions {
  /** The route as the server's document writes it; the query rests while the server has none. */
  route: string;
  /** Asked again this often, milliseconds. */
  every?: number;
  enabled?: boolean;
}

/** Reads one address. The key begins with the noun, so that a change can name what it makes old. */
export function useGet<T>(key: QueryKey, path: string, { route, every, enabled = true }: GetOptions) {
  return useQuery({
    queryKey: key,
    queryFn: ({ signal }) => api.get<T>(path, signal),
    enabled: enabled && has(`GET ${route}`),
    refetchInterval: every ?? false,
  });
}

/** A change, and the nouns it makes old. */
export function useChange<In, Out>(act: (input: In) => Promise<Out>, ...old: QueryKey[]) {
  const client = useQueryClient();
  return useMutation({
    mutationFn: act,
    onSettled: () => {
      for (const key of old) void client.invalidateQueries({ queryKey: key });
    },
  });
}
