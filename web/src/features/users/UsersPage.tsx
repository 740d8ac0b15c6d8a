import { Button, Menu, TextInput } from '@mantine/core';
import { IconDotsVertical } from '@tabler/icons-react';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange, useGet } from '../../api/query';
import type { Invitation, Person } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, type Column } from '../../components/DataTable';
import { Empty } from '../../components/Faces';
import { Choice } from '../../components/Fields';
import { PageHead } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { SecretDialog } from '../../components/SecretDialog';
import { cli } from '../../lib/cli';
import { dateTime } from '../../lib/format';
import { may, useSession } from '../session/session';
import { roles, roleTitle } from './people';

type Open = { kind: 'add' } | { kind: 'role' | 'password' | 'disable' | 'delete'; person: Person } | null;

/** Who may sign in to this control plane, and what for. */
export function UsersPage() {
  const session = useSession();
  const users = useGet<{ users: Person[] | null }>(keys.users, '/users', { route: '/users', every: 10_000 });
  const [open, setOpen] = useState<Open>(null);
  const [secret, setSecret] = useState<{ name: string; parts: [string, string][] } | null>(null);
  const admin = may.administer(session.data?.role);
  const close = () => setOpen(null);
  const shown = (name: string, made: Invitation) => {
    close();
    setSecret({ name, parts: [[`One-use link, until ${dateTime(made.expiresAt).slice(0, 16)}`, made.setupLink.startsWith('/') ? location.origin + made.setupLink : made.setupLink]] });
  };
  const columns: Column<Person>[] = [
    { head: 'Name', cell: (p) => p.name + (p.name === session.data?.username ? ' (you)' : '') },
    { head: 'Role', cell: (p) => roleTitle(p.role) },
    { head: 'State', cell: (p) => <StatusBadge tone={p.disabled ? 'unknown' : p.pending ? 'warn' : 'ok'}>{p.disabled ? 'Disabled' : p.pending ? (p.invited ? 'Invited' : 'No password yet') : 'Active'}</StatusBadge> },
    { head: 'Last seen', cell: (p) => <Age at={p.lastSeen} sentence event /> },
    { head: 'Since', cell: (p) => <Age at={p.createdAt} sentence event /> },
    {
      head: 'Actions',
      kind: 'actions',
      cell: (p) =>
        admin && p.name !== session.data?.username ? (
          <Menu position="bottom-end" width={200} shadow="md">
            <Menu.Target>
              <Button size="xs" variant="subtle" color="gray" px={6} aria-label={`Change ${p.name}`}>
                <IconDotsVertical size={15} />
              </Button>
            </Menu.Target>
            <Menu.Dropdown>
              {has('PUT /users/{name}') && <Menu.Item onClick={() => setOpen({ kind: 'role', person: p })}>Change role…</Menu.Item>}
              {has('POST /users/{name}/password') && <Menu.Item onClick={() => setOpen({ kind: 'password', person: p })}>New set-password link…</Menu.Item>}
              {has('PUT /users/{name}') && <Menu.Item onClick={() => setOpen({ kind: 'disable', person: p })}>{p.disabled ? 'Enable' : 'Disable'}…</Menu.Item>}
              {has('DELETE /users/{name}') && (
                <Menu.Item color="bad" onClick={() => setOpen({ kind: 'delete', person: p })}>
                  Delete…
                </Menu.Item>
              )}
            </Menu.Dropdown>
          </Menu>
        ) : null,
    },
  ];
  return (
    <>
      <PageHead title="Users" lead="Who may sign in here, and what for. What each did stays in the audit when they go." actions={admin && has('POST /users') && <Button onClick={() => setOpen({ kind: 'add' })}>Add user</Button>} />
      <QueryFaces query={users} label="Loading the users">
        {(u) =>
          (u.users ?? []).length === 0 ? (
            <Empty title="You are alone here">
              <p className="quiet">Give each person an account: the audit then says who did what.</p>
            </Empty>
          ) : (
            <DataTable caption="Users" columns={columns} rows={u.users ?? []} keyOf={(p) => p.name} testId={(p) => `user-${p.name}`} />
          )
        }
      </QueryFaces>
      {open?.kind === 'add' && <AddDialog onDone={shown} onClose={close} />}
      {open && open.kind !== 'add' && <ChangeDialog kind={open.kind} person={open.person} onSecret={shown} onClose={close} />}
      {secret && <SecretDialog title={`For ${secret.name}`} parts={secret.parts} onClose={() => setSecret(null)} />}
    </>
  );
}

function AddDialog({ onDone, onClose }: { onDone: (name: string, made: Invitation) => void; onClose: () => void }) {
  const [name, setName] = useState('');
  const [role, setRole] = useState('operator');
  const add = useChange((body: { name: string; role: string }) => api.post<Invitation>('/users', body), keys.users);
  return (
    <ActionDialog title="Add a user" verb="Add user" blocked={/^[a-z][a-z0-9-]{0,62}$/.test(name) ? null : 'A user name starts with a letter and holds only a–z, 0–9 and “-”.'} cli={() => cli.addPerson(name, role)} act={() => add.mutateAsync({ name, role })} onDone={(made) => onDone(name, made)} onClose={onClose}>
      <TextInput label="User name" value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus />
      <Choice label="Role" value={role} onChange={setRole} options={roles} />
    </ActionDialog>
  );
}

function ChangeDialog({ kind, person, onSecret, onClose }: { kind: 'role' | 'password' | 'disable' | 'delete'; person: Person; onSecret: (name: string, made: Invitation) => void; onClose: () => void }) {
  const [role, setRole] = useState<string>(person.role);
  const put = useChange((body: { role?: string; disabled?: boolean }) => api.put(path('users', person.name), body), keys.users);
  const password = useChange(() => api.post<Invitation>(path('users', person.name, 'password')), keys.users);
  const remove = useChange(() => api.delete(path('users', person.name)), keys.users);
  switch (kind) {
    case 'role':
      return (
        <ActionDialog title={`Role of ${person.name}`} verb="Change role" blocked={role === person.role ? 'That is the present role.' : null} cli={() => cli.changeRole(person.name, role)} act={() => put.mutateAsync({ role })} onDone={onClose} onClose={onClose}>
          <Choice label="Role" value={role} onChange={setRole} options={roles} />
        </ActionDialog>
      );
    case 'password':
      return (
        <ActionDialog title={`New set-password link for ${person.name}`} verb="Make a link" cli={() => cli.passwordLink(person.name)} act={() => password.mutateAsync(undefined)} onDone={(made) => onSecret(person.name, made)} onClose={onClose}>
          <p>A link that works once and lets {person.name} choose a password. Give it to that person only.</p>
        </ActionDialog>
      );
    case 'disable':
      return (
        <ActionDialog title={person.disabled ? `Enable ${person.name}` : `Disable ${person.name}`} verb={person.disabled ? 'Enable' : 'Disable'} cli={() => cli.disablePerson(person.name, !person.disabled)} act={() => put.mutateAsync({ disabled: !person.disabled })} onDone={onClose} onClose={onClose}>
          <p>{person.disabled ? 'They can sign in again with their password and role.' : 'They are signed out and cannot sign in until they are enabled again.'}</p>
        </ActionDialog>
      );
    case 'delete':
      return (
        <ActionDialog title={`Delete ${person.name}`} verb={`Delete ${person.name}`} danger typed={person.name} cli={() => cli.deletePerson(person.name)} act={() => remove.mutateAsync(undefined)} onDone={onClose} onClose={onClose}>
          <p>Their tokens stop working. What they did stays in the audit.</p>
        </ActionDialog>
      );
  }
}
