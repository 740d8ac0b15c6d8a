import { Button, PasswordInput, Textarea, TextInput } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import { ActionDialog } from '../../components/ActionDialog';
import { StatusBadge } from '../../components/Badges';
import { Note } from '../../components/Faces';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { may, useRole } from '../session/session';
import { storeKeys, useStoreLogin } from './queries';
import classes from './Store.module.css';
import type { StoreLogin } from './types';

type Asked<T> = Pick<UseQueryResult<T>, 'data' | 'error' | 'errorUpdateCount' | 'refetch' | 'dataUpdatedAt' | 'isError' | 'isFetching' | 'isPending'>;

/** Loading, error and stale of what an event store is asked; a store that asks for a login says what is missing, with the button that mends it. */
export function StoreFaces<T>({ cluster, query, label, rows, height, children }: { cluster: string; query: Asked<T>; label: string; rows?: number; height?: number; children: (data: T) => ReactNode }) {
  const trouble = query.error ? troubleFrom(query.error) : null;
  if (trouble?.code === 'store-login') return <NeedsLogin cluster={cluster} title={trouble.title} detail={trouble.detail} />;
  return (
    <QueryFaces query={query} label={label} rows={rows} height={height}>
      {children}
    </QueryFaces>
  );
}

function NeedsLogin({ cluster, title, detail }: { cluster: string; title: string; detail: string }) {
  const role = useRole();
  const [giving, setGiving] = useState(false);
  return (
    <Note tone="warn" title={title}>
      <p>
        {detail}. {may.administer(role) ? 'Give Baton an account of the store’s $admins, once: it is tried on every node and kept sealed.' : 'An administrator gives Baton one on the page Users of this cluster.'}
      </p>
      {may.administer(role) && (
        <Button size="xs" mt={10} onClick={() => setGiving(true)}>
          Give Baton a login
        </Button>
      )}
      {giving && <LoginDialog cluster={cluster} user="" onClose={() => setGiving(false)} />}
    </Note>
  );
}

/** The account Baton itself signs in with. The password goes one way. */
export function LoginDialog({ cluster, user: before, onClose }: { cluster: string; user: string; onClose: () => void }) {
  const [user, setUser] = useState(before || 'admin');
  const [password, setPassword] = useState('');
  const [ca, setCA] = useState('');
  const set = useChange((body: Record<string, string>) => api.put<StoreLogin>(`${path('clusters', cluster)}/store-login`, body), storeKeys.all(cluster), keys.streams(cluster), keys.cluster(cluster));
  return (
    <ActionDialog
      title={`Baton’s login for ${cluster}`}
      verb="Try and keep it"
      cli={() => cli.storeLogin(cluster, user.trim())}
      blocked={user.trim() === '' ? 'Name the account.' : password === '' ? 'Type its password.' : null}
      act={() => set.mutateAsync({ user: user.trim(), password, ...(ca.trim() && { ca }) })}
      onDone={onClose}
      onClose={onClose}
    >
      <p>Baton watches the nodes and shows streams, subscriptions, projections and accounts with it. It is tried on every node first, kept sealed, and never shown again.</p>
      <TextInput label="Account" description="A member of the store’s $admins." value={user} onChange={(e) => setUser(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <PasswordInput label="Password" name="store-password" value={password} onChange={(e) => setPassword(e.currentTarget.value)} autoComplete="new-password" />
      <details className={classes.more}>
        <summary>Certificate authority</summary>
        <Textarea label="PEM" description="Only when the nodes’ certificates are signed by one that the agents do not have: the store’s ca.crt, whole." autosize minRows={3} maxRows={8} value={ca} onChange={(e) => setCA(e.currentTarget.value)} spellCheck={false} styles={{ input: { fontFamily: 'var(--mono)', fontSize: 12 } }} />
      </details>
    </ActionDialog>
  );
}

/** As whom Baton signs in, and how to change that. */
export function LoginPanel({ cluster, secure }: { cluster: string; secure: boolean }) {
  const login = useStoreLogin(cluster);
  const role = useRole();
  const [dialog, setDialog] = useState<'give' | 'forget' | null>(null);
  const forget = useChange(() => api.delete<StoreLogin>(`${path('clusters', cluster)}/store-login`), storeKeys.all(cluster), keys.streams(cluster), keys.cluster(cluster));
  const close = () => setDialog(null);
  return (
    <Panel
      title="Baton’s own login"
      lead="What Baton watches and manages this event store with. The password is sealed and never shown."
      aside={
        may.administer(role) &&
        has('PUT /clusters/{id}/store-login') && (
          <>
            {login.data?.kept && (
              <Button variant="subtle" color="bad" size="xs" onClick={() => setDialog('forget')}>
                Forget…
              </Button>
            )}
            {(secure || login.data?.kept) && (
              <Button variant="default" size="xs" onClick={() => setDialog('give')}>
                {login.data?.kept ? 'Change…' : 'Give one…'}
              </Button>
            )}
          </>
        )
      }
    >
      <QueryFaces query={login} label="Reading the login" rows={1}>
        {(l) => <StatusBadge tone={l.refused.length > 0 ? 'bad' : l.kept ? 'ok' : secure ? 'warn' : 'unknown'}>{!l.kept && !secure ? 'None is needed: this event store asks nobody for one' : l.sentence}</StatusBadge>}
      </QueryFaces>
      {dialog === 'give' && <LoginDialog cluster={cluster} user={login.data?.user ?? ''} onClose={close} />}
      {dialog === 'forget' && (
        <ActionDialog title="Forget Baton’s login" verb="Forget it" danger typed={cluster} cli={() => cli.forgetStoreLogin(cluster)} act={() => forget.mutateAsync(undefined)} onDone={close} onClose={close}>
          <Note tone="bad" title="Baton no longer sees this cluster">
            <p>The nodes answer nobody without a login: what is shown of them turns unknown, and nothing can be promoted. The event store itself goes on.</p>
          </Note>
        </ActionDialog>
      )}
    </Panel>
  );
}
