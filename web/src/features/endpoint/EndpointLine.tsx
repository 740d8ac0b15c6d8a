import { StatusBadge } from '../../components/Badges';
import { count, milliseconds } from '../../lib/format';
import { endpointSentence, endpointTone, useEndpoint } from './queries';

/** How the stable endpoint stands, under the addresses it serves. */
export function EndpointLine({ cluster }: { cluster: string }) {
  const { data: e } = useEndpoint(cluster);
  if (!e || (!e.readWrite && !e.readOnly)) return null;
  return (
    <p style={{ fontSize: 13, display: 'grid' }} data-testid="endpoint" data-state={e.state}>
      <StatusBadge tone={endpointTone[e.state] ?? 'unknown'}>Endpoint {e.state}</StatusBadge>
      <span className="quiet">
        {endpointSentence(e)} {count(e.clients, 'client')} connected{e.lastSwitchMs ? `; the last switch took ${milliseconds(e.lastSwitchMs)}` : ''}.
      </span>
    </p>
  );
}
