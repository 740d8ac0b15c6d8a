import { path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { StreamList, StreamPage } from '../../api/types';

/** The list moves with the cluster; a page of a stream is read again by hand. */
const listMs = 5000;

/** How many events a page holds. */
export const pageEvents = 25;

export function useStreams(cluster: string, system: boolean, enabled: boolean) {
  return useGet<StreamList>([...keys.streams(cluster), 'list', system], `${path('clusters', cluster, 'streams')}?system=${system}`, { route: '/clusters/{id}/streams', every: listMs, enabled });
}

export function useStream(cluster: string, stream: string, from: string, links: boolean) {
  const query = new URLSearchParams({ stream, limit: String(pageEvents), links: String(links), ...(from !== '' && { from }) });
  return useGet<StreamPage>([...keys.streams(cluster), 'events', stream, from, links], `${path('clusters', cluster, 'streams', 'events')}?${query}`, { route: '/clusters/{id}/streams/events', enabled: stream !== '' });
}
