import { Button, TextInput } from '@mantine/core';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { ClusterDetail } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Choice } from '../../components/Fields';
import { Guarded } from '../../components/Guarded';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { SecretDialog } from '../../components/SecretDialog';
import { cli } from '../../lib/cli';
import { whyNot } from '../clusters/can';
import { useEngineUsers } from './queries';
import classes from './Settings.module.css';

const accessWord: Record<string, string> = { read: 'may read', readwrite: 'may read and write', admin: 'may do everything' };

type Access = 'read' | 'readwrite' | 'admin';

/** Who may sign in to the engine itself. */
export function EngineUsersPanel({ cluster, editable }: { cluster: ClusterDetail; editable: boolean }) {
  const users = useEngineUsers(cluster.id);
  const why = whyNot(cluster, 'users');
  const [dialog, setDialog] = useState<{ kind: 'add' } | { kind: 'rotate' | 'remove'; name: string } | null>(null);
  const [secret, setSecret] = useState<{ name: string; password: string } | null>(null);
  const close = () => setDialog(null);
  const shown = (s: { name: string; password: string }) => {
    close();
    setSecret(s);
  };
  const rotate = useChange((name: string) => api.post<{ password: string }>(path('clusters', cluster.id, 'users', name, 'rotate')), keys.engineUsers(cluster.id));
  const remove = useChange((name: string) => api.delete(path('clusters', cluster.id, 'users', name)), keys.engineUsers(cluster.id));
  return (
    <Panel
      title="Engine users"
      lead="Accounts that applications sign in with. They are the same on every node."
      aside={
        editable &&
        has('POST /clusters/{id}/users') && (
          <Guarded variant="default" size="xs" why={why} onClick={() => setDialog({ kind: 'add' })}>
            Add user
          </Guarded>
        )
      }
    >
      <QueryFaces query={users} label="Loading the users" rows={2}>
        {(u) =>
          (u.users ?? []).length === 0 ? (
            <p className="quiet">{why ? `${why} Its users are managed where they are.` : 'There is none yet. Add one for each application, so that each can be taken away alone.'}</p>
          ) : (
            <ul className={classes.list}>
              {(u.users ?? []).map((x) => (
                <li key={x.name}>
                  <span>
                    <strong>{x.name}</strong>
                    {!x.enabled && <span className="faint"> (off)</span>}
                    <span className={classes.quiet}>{accessWord[x.acl] ?? x.acl}</span>
                  </span>
                  {editable && has('POST /clusters/{id}/users/{name}/rotate') && (
                    <Button size="xs" variant="default" onClick={() => setDialog({ kind: 'rotate', name: x.name })}>
                      New password
                    </Button>
                  )}
                  {editable && has('DELETE /clusters/{id}/users/{name}') && (
                    <Button size="xs" variant="subtle" color="bad" onClick={() => setDialog({ kind: 'remove', name: x.name })}>
                      Remove
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </QueryFaces>
      {dialog?.kind === 'add' && <AddDialog cluster={cluster} onDone={shown} onClose={close} />}
      {dialog?.kind === 'rotate' && (
        <ActionDialog title={`New password for ${dialog.name}`} verb="Make a new password" cli={() => cli.rotateDatabaseUser(cluster.id, dialog.name)} act={() => rotate.mutateAsync(dialog.name)} onDone={(r) => shown({ name: dialog.name, password: r.password })} onClose={close}>
          <p>The present password stops working for new connections at once. Connections that are open go on.</p>
        </ActionDialog>
      )}
      {dialog?.kind === 'remove' && (
        <ActionDialog title={`Remove ${dialog.name}`} verb={`Remove ${dialog.name}`} danger typed={dialog.name} cli={() => cli.removeDatabaseUser(cluster.id, dialog.name)} act={() => remove.mutateAsync(dialog.name)} onDone={close} onClose={close}>
          <p>Applications that sign in as {dialog.name} are cut off on every node.</p>
        </ActionDialog>
      )}
      {secret && <SecretDialog title={`Password of ${secret.name}`} parts={[['User', secret.name], ['Password', secret.password]]} onClose={() => setSecret(null)} />}
    </Panel>
  );
}

function AddDialog({ cluster, onDone, onClose }: { cluster: ClusterDetail; onDone: (s: { name: string; password: string }) => void; onClose: () => void }) {
  const [name, setName] = useState('');
  const [access, setAccess] = useState<Access>('readwrite');
  const add = useChange((body: { name: string; access: Access }) => api.post<{ name: string; password: string }>(path('clusters', cluster.id, 'users'), body), keys.engineUsers(cluster.id));
  return (
    <ActionDialog title={`Add a user to ${cluster.name}`} verb="Add user" blocked={/^[a-z][a-z0-9_-]{0,62}$/.test(name) ? null : 'A name starts with a letter and holds only a–z, 0–9, “-” and “_”.'} cli={() => cli.addDatabaseUser(cluster.id, name, access)} act={() => add.mutateAsync({ name, access })} onDone={onDone} onClose={onClose}>
      <TextInput label="Name" value={name} onChange={(e) => setName(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <Choice
        label="May"
        value={access}
        onChange={setAccess}
        options={[
          { value: 'read', title: 'read' },
          { value: 'readwrite', title: 'read and write', consequence: 'No commands that change the server.' },
          { value: 'admin', title: 'everything', consequence: 'Also what stops replication or wipes data. Not for applications.' },
        ]}
      />
    </ActionDialog>
  );
}
