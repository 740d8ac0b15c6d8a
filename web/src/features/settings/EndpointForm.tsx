import { Button, Switch, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { ClusterDetail, Endpoint } from '../../api/types';
import { StatusBadge } from '../../components/Badges';
import { Command, CommandLine } from '../../components/Copy';
import { FieldRow, NumberField } from '../../components/Fields';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { sentenceCase } from '../../lib/format';
import { endpointSentence, endpointTone, useEndpoint } from '../endpoint/queries';

/** One address that follows the primary, for clients that cannot. */
export function EndpointForm({ cluster, editable }: { cluster: ClusterDetail; editable: boolean }) {
  const endpoint = useEndpoint(cluster.id);
  return (
    <Panel title="Stable endpoint" lead="Two ports that follow the roles. During a planned promotion it holds new writes and releases them on the new primary: clients see a pause and no error." aside={endpoint.data && <StatusBadge tone={endpointTone[endpoint.data.state] ?? 'unknown'}>{sentenceCase(endpoint.data.state)}</StatusBadge>}>
      <QueryFaces query={endpoint} label="Loading the endpoint" rows={1}>
        {(e) => (
          <>
            <p>{endpointSentence(e)}{e.why && e.state !== 'forwarding' ? ` ${sentenceCase(e.why)}` : ''}</p>
            {e.readWrite && <Command value={e.readWrite} label="Copy the read-write address" />}
            {editable && has('PUT /clusters/{id}/endpoint') && <Form cluster={cluster} endpoint={e} />}
          </>
        )}
      </QueryFaces>
    </Panel>
  );
}

function Form({ cluster, endpoint: e }: { cluster: ClusterDetail; endpoint: Endpoint }) {
  const isOn = e.enabled;
  const [enabled, setEnabled] = useState(isOn);
  const [readWritePort, setReadWrite] = useState<number | null>(e.readWritePort || null);
  const [readOnlyPort, setReadOnly] = useState<number | null>(e.readOnlyPort || null);
  const [host, setHost] = useState(e.host);
  const put = useChange((body: Record<string, unknown>) => api.put(path('clusters', cluster.id, 'endpoint'), body), keys.endpoint(cluster.id), keys.cluster(cluster.id));
  const submit = (event: FormEvent) => {
    event.preventDefault();
    // What the form does not show stays as it is.
    put.mutate({ enabled, ...(readWritePort !== null && { readWritePort }), ...(readOnlyPort !== null && { readOnlyPort }), ...(host && { host }), maxLagBytes: e.maxLagBytes, replicasOnly: e.replicasOnly, on: e.on ?? [] });
  };
  return (
    <form onSubmit={submit} style={{ display: 'grid', gap: 14 }}>
      <Switch checked={enabled} onChange={(x) => setEnabled(x.currentTarget.checked)} label="Serve an endpoint" />
      {enabled && (
        <FieldRow>
          <NumberField label="Read-write port" value={readWritePort} onChange={setReadWrite} min={1} max={65535} placeholder="a free one" />
          <NumberField label="Read-only port" value={readOnlyPort} onChange={setReadOnly} min={1} max={65535} placeholder="a free one" />
          <TextInput label="Address to listen on" value={host} onChange={(x) => setHost(x.currentTarget.value)} placeholder="127.0.0.1" />
        </FieldRow>
      )}
      <div style={{ display: 'flex', gap: 12, alignItems: 'center' }}>
        <Button type="submit" variant="default" loading={put.isPending}>
          Apply
        </Button>
        <span className="quiet" aria-live="polite">
          {put.error ? `${troubleFrom(put.error).title}. ${troubleFrom(put.error).detail}` : put.isSuccess ? 'Applied.' : isOn && !enabled ? 'Clients connected through it are cut off.' : ''}
        </span>
      </div>
      <CommandLine value={cli.endpoint(cluster.id, enabled, { 'rw-port': readWritePort, 'ro-port': readOnlyPort, host, 'max-lag-bytes': e.maxLagBytes || null, 'replicas-only': e.replicasOnly, on: (e.on ?? []).join(',') })} />
    </form>
  );
}
