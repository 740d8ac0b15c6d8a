import { Button, TextInput } from '@mantine/core';
import { IconReload } from '@tabler/icons-react';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Accepted, ClusterDetail, Parameter } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { CommandLine } from '../../components/Copy';
import { Note } from '../../components/Faces';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { count } from '../../lib/format';
import { whyNot } from '../clusters/can';
import { useParameters } from './queries';
import classes from './Settings.module.css';

/** The engine's own settings; those that wait for a restart say so. */
export function ParametersPanel({ cluster, editable, onStarted }: { cluster: ClusterDetail; editable: boolean; onStarted: (op: string) => void }) {
  const parameters = useParameters(cluster.id);
  return (
    <Panel title="Parameters" lead="The same on every node. What needs a restart is taken over at the next one; a rolling restart promotes the primary away first.">
      <QueryFaces query={parameters} label="Loading the parameters" rows={3}>
        {(p) => ((p.parameters ?? []).length === 0 ? <p className="quiet">This engine has none that can be set here.</p> : <Form cluster={cluster} parameters={p.parameters ?? []} editable={editable && has('PUT /clusters/{id}/parameters')} onStarted={onStarted} />)}
      </QueryFaces>
    </Panel>
  );
}

function Form({ cluster, parameters, editable, onStarted }: { cluster: ClusterDetail; parameters: readonly Parameter[]; editable: boolean; onStarted: (op: string) => void }) {
  const [edited, setEdited] = useState<Record<string, string>>({});
  const noRestart = whyNot(cluster, 'restart-parameters');
  const put = useChange((values: Record<string, string>) => api.put<Accepted>(path('clusters', cluster.id, 'parameters'), { values }), keys.parameters(cluster.id));
  const values = Object.fromEntries(Object.entries(edited).filter(([k, v]) => parameters.some((p) => p.name === k && p.value !== v)));
  const n = Object.keys(values).length;
  const restarts = parameters.filter((p) => p.needsRestart && p.name in values).length;
  const waiting = parameters.filter((p) => p.pending !== null).length;
  const [restarting, setRestarting] = useState(false);
  const trouble = put.error ? troubleFrom(put.error) : null;
  return (
    <form
      onSubmit={(e) => {
        e.preventDefault();
        if (n > 0) {
          put.mutate(values, {
            onSuccess: (a) => {
              setEdited({});
              onStarted(a.operationId);
            },
          });
        }
      }}
    >
      {parameters.map((p) => (
        <div key={p.name} className={classes.parameter}>
          <div>
            <code>{p.name}</code>
            <span className={classes.quiet}>{p.description}</span>
            <span className={classes.badges}>
              {p.pending !== null && (
                <span className={classes.pending}>
                  <IconReload size={13} aria-hidden /> becomes {p.pending || 'empty'} at the next start
                </span>
              )}
              {p.needsRestart && p.pending === null && <span className="faint">{noRestart ? 'needs a restart: change it in the server’s own file' : 'needs a restart'}</span>}
              {p.default !== p.value && <span className="faint">default {p.default || 'empty'}</span>}
            </span>
          </div>
          <TextInput aria-label={p.name} size="xs" disabled={!editable || (p.needsRestart && noRestart !== null)} value={edited[p.name] ?? p.value} onChange={(e) => setEdited({ ...edited, [p.name]: e.currentTarget.value })} spellCheck={false} styles={{ input: { fontFamily: 'var(--mono)' } }} />
        </div>
      ))}
      {trouble && (
        <Note tone="bad" title={trouble.title}>
          <p>{trouble.detail || trouble.fix}</p>
        </Note>
      )}
      {waiting > 0 && n === 0 && editable && noRestart === null && has('POST /clusters/{id}/restart') && (
        <div className={classes.saveLine} style={{ paddingTop: 14 }}>
          <span>{count(waiting, 'parameter waits', 'parameters wait')} for a restart.</span>
          <Button variant="default" onClick={() => setRestarting(true)}>
            Restart one by one…
          </Button>
        </div>
      )}
      {restarting && <RestartDialog cluster={cluster} onClose={() => setRestarting(false)} onStarted={onStarted} />}
      {n > 0 && (
        <div className={classes.saveLine} style={{ paddingTop: 14 }}>
          <span aria-live="polite">
            {count(n, 'change')}
            {restarts > 0 ? `, ${restarts} of them at the next restart` : ', at once and on every node'}.
          </span>
          <Button variant="default" onClick={() => setEdited({})}>
            Discard
          </Button>
          <Button type="submit" loading={put.isPending}>
            Apply
          </Button>
        </div>
      )}
      {n > 0 && <CommandLine value={cli.parameters(cluster.id, values)} />}
    </form>
  );
}

/** Restarts every server, the primary last and only after another took its place. */
function RestartDialog({ cluster, onClose, onStarted }: { cluster: ClusterDetail; onClose: () => void; onStarted: (op: string) => void }) {
  const restart = useChange((body: Record<string, unknown>) => api.post<Accepted>(path('clusters', cluster.id, 'restart'), body), keys.cluster(cluster.id));
  return (
    <ActionDialog
      title={`Restart every server of ${cluster.name}`}
      verb="Restart one by one"
      typed={cluster.name}
      reason="optional"
      cli={({ reason }) => cli.restart(cluster.id, reason)}
      act={({ typedName, reason }) => restart.mutateAsync({ typedName, generation: cluster.generation, ...(reason && { reason }) })}
      onDone={(a) => onStarted(a.operationId)}
      onClose={onClose}
    >
      <p>The replicas restart first, each in step before the next. Then a planned promotion moves the primary away, with the pause of any promotion, and the former primary restarts.</p>
    </ActionDialog>
  );
}
