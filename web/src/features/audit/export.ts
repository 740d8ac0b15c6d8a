import { apiRoot } from '../../api/client';

/** Where the audit is downloaded from; of one cluster or of all. */
export function exportHref(format: 'csv' | 'json', cluster?: string): string {
  const q = new URLSearchParams({ format });
  if (cluster) q.set('cluster', cluster);
  return `${apiRoot}/audit/export?${q}`;
}
