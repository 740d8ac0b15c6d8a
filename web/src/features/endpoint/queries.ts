import { path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { Endpoint } from '../../api/types';
import type { Tone } from '../../lib/severity';

const pollMs = 2000;

export function useEndpoint(cluster: string) {
  return useGet<Endpoint>(keys.endpoint(cluster), path('clusters', cluster, 'endpoint'), { route: '/clusters/{id}/endpoint', every: pollMs });
}

export const endpointTone: Record<Endpoint['state'], Tone> = { forwarding: 'ok', holding: 'warn', closed: 'unknown' };

export function endpointSentence(e: Endpoint): string {
  switch (e.state) {
    case 'forwarding':
      return `Forwards to ${e.target || 'the primary'}.`;
    case 'holding':
      return `Holds ${e.heldNow} requests while roles change; clients wait and see no error.`;
    default:
      return e.enabled ? 'Closed: nobody can connect through it now.' : 'Not served.';
  }
}
