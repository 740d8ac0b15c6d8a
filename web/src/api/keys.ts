/** Names of the query caches. Events write to them, pages read them. */
export const keys = {
  session: ['session'] as const,
  setup: ['setup-state'] as const,
  version: ['version'] as const,
  hosts: ['hosts'] as const,
  clusters: ['clusters'] as const,
  cluster: (id: string) => ['cluster', id] as const,
  report: (cluster: string, node: string) => ['report', cluster, node] as const,
  plan: (cluster: string, node: string, overrides: readonly string[] = []) => ['plan', cluster, node, ...overrides] as const,
  operation: (id: string) => ['operation', id] as const,
  audit: (cluster: string) => ['audit', cluster] as const,
};
