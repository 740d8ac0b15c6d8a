import { Button, Menu, PasswordInput, TextInput } from '@mantine/core';
import { IconDots } from '@tabler/icons-react';
import { getRouteApi } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { useChange } from '../../api/query';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { Note } from '../../components/Faces';
import { Choice } from '../../components/Fields';
import { SecretDialog } from '../../components/SecretDialog';
import { cli } from '../../lib/cli';
import { count } from '../../lib/format';
import { useCluster } from '../clusters/queries';
import { may, useRole } from '../session/session';
import { LoginPanel, StoreFaces } from './Login';
import { storeKeys, useStoreUsers } from './queries';
import { groupsOf } from './store';
import classes from './Store.module.css';
import type { StoreUser, StoreUserList, StoreUserSecret } from './types';

const route = getRouteApi('/shell/clusters/$id');

/** Accounts of the event store itself, and the one Baton uses. */
export function StoreUsersTab() {
  const { id } = route.useParams();
  const role = useRole();
  const { data: cluster } = useCluster(id);
  const admin = may.administer(role);
  const users = useStoreUsers(id, admin);
  if (!cluster) return null;
  return (
    <div className={classes.page}>
      {admin ? (
        <StoreFaces cluster={id} query={users} label="Reading the accounts" rows={3}>
          {(u) => (u.secure ? <Accounts cluster={id} list={u} /> : <Insecure />)}
        </StoreFaces>
      ) : (
        <Note tone="unknown" title="Accounts are shown to administrators">
          <p>Your role is {role}. Ask an administrator to make or change accounts of this event store.</p>
        </Note>
      )}
      <LoginPanel cluster={id} secure={users.data?.secure ?? users.isError} />
    </div>
  );
}

function Insecure() {
  return (
    <Note tone="warn" title="This event store runs without security">
      <p>It keeps no accounts: whoever reaches its nodes may read and write everything. Start its nodes without --insecure to have accounts, groups and access lists.</p>
    </Note>
  );
}

type Dialog = { kind: 'add' } | { kind: 'groups' | 'reset' | 'disable' | 'enable' | 'delete'; user: StoreUser };

function Accounts({ cluster, list }: { cluster: string; list: StoreUserList }) {
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const [secret, setSecret] = useState<StoreUserSecret | null>(null);
  const close = () => setDialog(null);
  const shown = (s: StoreUserSecret) => (close(), s.password !== '' && setSecret(s));
  const columns: Column<StoreUser>[] = [
    {
      head: 'Account',
      cell: (u) => (
        <>
          {u.login}
          {u.login === list.own && <span className={classes.own}>Baton signs in with it</span>}
          {u.fullName && <Under>{u.fullName}</Under>}
        </>
      ),
    },
    { head: 'Groups', cell: (u) => u.groups.join(', ') || <span className="faint">none</span>, kind: 'wide' },
    { head: 'State', cell: (u) => <StatusBadge tone={u.disabled ? 'unknown' : 'ok'}>{u.disabled ? 'Disabled' : 'May sign in'}</StatusBadge> },
    { head: 'Created', cell: (u) => (u.created ? <Age at={u.created} sentence event /> : <span className="faint">Not known</span>) },
    { head: 'Changed', cell: (u) => <Age at={u.updated} sentence event /> },
    {
      head: 'Actions',
      kind: 'actions',
      cell: (u) => (
        <>
          <Button size="xs" variant="default" onClick={() => setDialog({ kind: 'groups', user: u })} aria-label={`Groups of ${u.login}`}>
            Groups…
          </Button>
          <Menu position="bottom-end" shadow="md">
            <Menu.Target>
              <Button size="xs" variant="default" px={8} aria-label={`More for ${u.login}`}>
                <IconDots size={16} aria-hidden />
              </Button>
            </Menu.Target>
            <Menu.Dropdown>
              <Menu.Item onClick={() => setDialog({ kind: 'reset', user: u })}>New password…</Menu.Item>
              <Menu.Item disabled={u.login === list.own && !u.disabled} onClick={() => setDialog({ kind: u.disabled ? 'enable' : 'disable', user: u })}>
                {u.disabled ? 'Enable…' : 'Disable…'}
              </Menu.Item>
              <Menu.Item color="bad" disabled={u.login === list.own} onClick={() => setDialog({ kind: 'delete', user: u })}>
                Delete…
              </Menu.Item>
            </Menu.Dropdown>
          </Menu>
        </>
      ),
    },
  ];
  const admins = list.users.filter((u) => u.groups.includes('$admins') && !u.disabled).length;
  return (
    <>
      <div className={classes.tools}>
        <p className="quiet">
          {count(list.users.length, 'account')}, {count(admins, 'administrator')}. Applications sign in to the event store with them.
        </p>
        {has('POST /clusters/{id}/store-users') && (
          <Button variant="default" onClick={() => setDialog({ kind: 'add' })}>
            New account
          </Button>
        )}
      </div>
      <DataTable caption="Accounts of the event store, by name" columns={columns} rows={list.users} keyOf={(u) => u.login} testId={(u) => `store-user-${u.login}`} />
      {dialog?.kind === 'add' && <AddDialog cluster={cluster} onDone={shown} onClose={close} />}
      {dialog?.kind === 'groups' && <GroupsDialog cluster={cluster} user={dialog.user} onClose={close} />}
      {dialog?.kind === 'reset' && <ResetDialog cluster={cluster} user={dialog.user} own={dialog.user.login === list.own} onDone={shown} onClose={close} />}
      {(dialog?.kind === 'disable' || dialog?.kind === 'enable') && <EnableDialog cluster={cluster} user={dialog.user} onClose={close} />}
      {dialog?.kind === 'delete' && <DeleteDialog cluster={cluster} user={dialog.user} onClose={close} />}
      {secret && <SecretDialog title={`Password of ${secret.login}`} parts={[['Account', secret.login], ['Password', secret.password]]} onClose={() => setSecret(null)} />}
    </>
  );
}

type How = 'made' | 'typed';

function PasswordFields({ how, password, onHow, onPassword }: { how: How; password: string; onHow: (h: How) => void; onPassword: (p: string) => void }) {
  return (
    <>
      <Choice
        label="Password"
        value={how}
        onChange={onHow}
        options={[
          { value: 'made', title: 'made by Baton', consequence: 'Long and random; shown once, kept nowhere.' },
          { value: 'typed', title: 'typed here', consequence: 'Goes to the event store and nowhere else.' },
        ]}
      />
      {how === 'typed' && <PasswordInput label="Password" name="account-password" value={password} onChange={(e) => onPassword(e.currentTarget.value)} autoComplete="new-password" />}
    </>
  );
}

const usersAt = (cluster: string, ...more: string[]) => `${path('clusters', cluster)}/store-users${more.map((m) => `/${encodeURIComponent(m)}`).join('')}`;

function AddDialog({ cluster, onDone, onClose }: { cluster: string; onDone: (s: StoreUserSecret) => void; onClose: () => void }) {
  const [login, setLogin] = useState('');
  const [fullName, setFullName] = useState('');
  const [groups, setGroups] = useState('');
  const [how, setHow] = useState<How>('made');
  const [password, setPassword] = useState('');
  const add = useChange((body: object) => api.post<StoreUserSecret>(usersAt(cluster), body), storeKeys.users(cluster));
  return (
    <ActionDialog
      title="New account of the event store"
      verb="Make it"
      reason="optional"
      blocked={login.trim() === '' ? 'Name the account.' : login.includes(':') ? 'A name cannot hold a colon.' : how === 'typed' && password === '' ? 'Type the password.' : null}
      cli={({ reason }) => cli.addStoreUser(cluster, login.trim(), groupsOf(groups), reason)}
      act={({ reason }) => add.mutateAsync({ login: login.trim(), fullName: fullName.trim(), groups: groupsOf(groups), ...(how === 'typed' && { password }), ...(reason && { reason }) })}
      onDone={onDone}
      onClose={onClose}
    >
      <TextInput label="Name" placeholder="billing-service" value={login} onChange={(e) => setLogin(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <TextInput label="Full name" description="Optional; for people." value={fullName} onChange={(e) => setFullName(e.currentTarget.value)} autoComplete="off" />
      <GroupsField value={groups} onChange={setGroups} />
      <PasswordFields how={how} password={password} onHow={setHow} onPassword={setPassword} />
    </ActionDialog>
  );
}

function GroupsField({ value, onChange }: { value: string; onChange: (v: string) => void }) {
  return <TextInput label="Groups" description="Between commas. $admins may do everything, $ops may operate; your own stand in access lists of streams." placeholder="readers" value={value} onChange={(e) => onChange(e.currentTarget.value)} spellCheck={false} autoComplete="off" />;
}

function GroupsDialog({ cluster, user: u, onClose }: { cluster: string; user: StoreUser; onClose: () => void }) {
  const [groups, setGroups] = useState(u.groups.join(', '));
  const [fullName, setFullName] = useState(u.fullName);
  const put = useChange((body: object) => api.put<StoreUser>(usersAt(cluster, u.login), body), storeKeys.users(cluster));
  const next = groupsOf(groups);
  const same = next.join(' ') === u.groups.join(' ') && fullName.trim() === u.fullName;
  return (
    <ActionDialog title={`Groups of ${u.login}`} verb="Change groups" reason="optional" blocked={same ? 'Nothing is changed yet.' : null} cli={() => cli.storeUserGroups(cluster, u.login, next)} act={({ reason }) => put.mutateAsync({ groups: next, fullName: fullName.trim(), ...(reason && { reason }) })} onDone={onClose} onClose={onClose}>
      <GroupsField value={groups} onChange={setGroups} />
      <TextInput label="Full name" value={fullName} onChange={(e) => setFullName(e.currentTarget.value)} autoComplete="off" />
    </ActionDialog>
  );
}

function ResetDialog({ cluster, user: u, own, onDone, onClose }: { cluster: string; user: StoreUser; own: boolean; onDone: (s: StoreUserSecret) => void; onClose: () => void }) {
  const [how, setHow] = useState<How>('made');
  const [password, setPassword] = useState('');
  const reset = useChange((body: object) => api.post<StoreUserSecret>(usersAt(cluster, u.login, 'password'), body), storeKeys.users(cluster), storeKeys.login(cluster));
  return (
    <ActionDialog title={`New password for ${u.login}`} verb="Set the password" reason="optional" blocked={how === 'typed' && password === '' ? 'Type the password.' : null} cli={() => cli.resetStoreUser(cluster, u.login)} act={({ reason }) => reset.mutateAsync({ ...(how === 'typed' && { password }), ...(reason && { reason }) })} onDone={onDone} onClose={onClose}>
      <p>The present password is void at once.{own && ' Baton signs in with this account: it takes the new password over by itself.'}</p>
      <PasswordFields how={how} password={password} onHow={setHow} onPassword={setPassword} />
    </ActionDialog>
  );
}

function EnableDialog({ cluster, user: u, onClose }: { cluster: string; user: StoreUser; onClose: () => void }) {
  const put = useChange((body: object) => api.put<StoreUser>(usersAt(cluster, u.login), body), storeKeys.users(cluster));
  const word = u.disabled ? 'Enable' : 'Disable';
  return (
    <ActionDialog title={`${word} ${u.login}`} verb={word} reason="optional" cli={() => cli.enableStoreUser(cluster, u.login, u.disabled)} act={({ reason }) => put.mutateAsync({ disabled: !u.disabled, ...(reason && { reason }) })} onDone={onClose} onClose={onClose}>
      <p>{u.disabled ? 'It may sign in again, with the password it had.' : 'Applications that sign in with it are refused from the next request on. Groups and password stay.'}</p>
    </ActionDialog>
  );
}

function DeleteDialog({ cluster, user: u, onClose }: { cluster: string; user: StoreUser; onClose: () => void }) {
  const remove = useChange((body: object) => api.post(usersAt(cluster, u.login, 'delete'), body), storeKeys.users(cluster));
  return (
    <ActionDialog title={`Delete ${u.login}`} verb="Delete account" danger typed={u.login} reason="optional" cli={({ reason }) => cli.deleteStoreUser(cluster, u.login, reason)} act={({ typedName, reason }) => remove.mutateAsync({ typedName, ...(reason && { reason }) })} onDone={onClose} onClose={onClose}>
      <Note tone="bad" title="Applications that sign in with it are cut off">
        <p>Access lists that name it stay as they are. Disable it instead if you are not sure.</p>
      </Note>
    </ActionDialog>
  );
}
