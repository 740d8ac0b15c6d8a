import { Button, NativeSelect, PasswordInput, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange, useGet } from '../../api/query';
import type { Token } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { Note } from '../../components/Faces';
import { NumberField } from '../../components/Fields';
import { PageHead, Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { SecretDialog } from '../../components/SecretDialog';
import { cli } from '../../lib/cli';
import { dateTime } from '../../lib/format';
import { useSession, whyNotAccount } from '../session/session';
import settings from '../settings/Settings.module.css';
import { roles, roleTitle } from '../users/people';

/** One's own password and tokens. */
export function AccountPage() {
  const session = useSession();
  if (!session.data) return null;
  return (
    <>
      <PageHead title={session.data.username} lead={`${roleTitle(session.data.role)}.`} />
      <div className={settings.tab}>
        {has('POST /me/password') && <PasswordPanel username={session.data.username} />}
        {has('GET /tokens') && <TokensPanel role={session.data.role} username={session.data.username} />}
      </div>
    </>
  );
}

function PasswordPanel({ username }: { username: string }) {
  const [old, setOld] = useState('');
  const [next, setNext] = useState('');
  const [tried, setTried] = useState(false);
  const change = useChange((body: { old: string; new: string }) => api.post('/me/password', body));
  const problem = whyNotAccount(username, next);
  const trouble = change.error ? troubleFrom(change.error) : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (problem === null && old !== '') {
      change.mutate(
        { old, new: next },
        {
          onSuccess: () => {
            setOld('');
            setNext('');
            setTried(false);
          },
        },
      );
    }
  };
  return (
    <Panel title="Password">
      <form onSubmit={submit} className={settings.two} style={{ maxWidth: 420 }}>
        <input type="text" name="username" autoComplete="username" value={username} readOnly hidden />
        <PasswordInput label="Present password" autoComplete="current-password" value={old} onChange={(e) => setOld(e.currentTarget.value)} />
        <PasswordInput label="New password" description="At least 12 characters." autoComplete="new-password" value={next} error={tried ? problem : null} onChange={(e) => setNext(e.currentTarget.value)} />
        {trouble && (
          <Note tone="bad" title={trouble.title}>
            <p>{trouble.detail || trouble.fix}</p>
          </Note>
        )}
        <div className={settings.row}>
          <Button type="submit" style={{ flex: 'none' }} loading={change.isPending}>
            Change password
          </Button>
          <span aria-live="polite" className="quiet">
            {change.isSuccess && next === '' ? 'Changed. Other devices are signed out.' : ''}
          </span>
        </div>
      </form>
    </Panel>
  );
}

function TokensPanel({ role, username }: { role: string; username: string }) {
  const tokens = useGet<{ tokens: Token[] | null }>(keys.tokens, '/tokens', { route: '/tokens' });
  const [making, setMaking] = useState(false);
  const [removing, setRemoving] = useState<Token | null>(null);
  const [secret, setSecret] = useState<string | null>(null);
  const remove = useChange((id: string) => api.delete(path('tokens', id)), keys.tokens);
  return (
    <Panel
      title="Tokens"
      lead="For the command line and for scripts: export BATON_TOKEN and leave passwords out of them."
      aside={
        has('POST /tokens') && (
          <Button variant="default" size="xs" onClick={() => setMaking(true)}>
            New token
          </Button>
        )
      }
    >
      <QueryFaces query={tokens} label="Loading the tokens" rows={2}>
        {(t) =>
          (t.tokens ?? []).length === 0 ? (
            <p className="quiet">You have none.</p>
          ) : (
            <ul className={settings.list}>
              {(t.tokens ?? []).map((x) => (
                <li key={x.id}>
                  <span>
                    <strong>{x.name}</strong> <span className="faint">{roleTitle(x.role)}</span>
                    <span className={settings.quiet}>
                      made <Age at={x.createdAt} sentence event />, used <Age at={x.lastSeen} sentence event />, {x.expired ? 'expired' : `ends ${dateTime(x.expiresAt).slice(0, 10)}`}
                      {x.owner && x.owner !== username ? `, of ${x.owner}` : ''}
                    </span>
                  </span>
                  {has('DELETE /tokens/{id}') && (
                    <Button size="xs" variant="subtle" color="bad" onClick={() => setRemoving(x)}>
                      Revoke
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </QueryFaces>
      {making && (
        <TokenDialog
          role={role}
          onDone={(s) => {
            setMaking(false);
            setSecret(s);
          }}
          onClose={() => setMaking(false)}
        />
      )}
      {removing && (
        <ActionDialog title={`Revoke ${removing.name}`} verb="Revoke" danger cli={() => cli.endToken(removing.id)} act={() => remove.mutateAsync(removing.id)} onDone={() => setRemoving(null)} onClose={() => setRemoving(null)}>
          <p>Whatever uses it is refused from now on.</p>
        </ActionDialog>
      )}
      {secret && <SecretDialog title="Your new token" parts={[['Token', secret]]} onClose={() => setSecret(null)} />}
    </Panel>
  );
}

function TokenDialog({ role, onDone, onClose }: { role: string; onDone: (secret: string) => void; onClose: () => void }) {
  const [name, setName] = useState('');
  const [chosen, setRole] = useState('viewer');
  const [days, setDays] = useState<number | null>(90);
  // A token may do no more than its owner.
  const upTo = roles.filter((r) => r.value === 'viewer' || r.value === role || role === 'admin');
  const make = useChange((body: { name: string; role: string; days: number }) => api.post<{ secret: string }>('/tokens', body), keys.tokens);
  return (
    <ActionDialog title="New token" verb="Make token" blocked={name.trim() === '' ? 'Name it after what uses it.' : days === null || days < 1 || days > 366 ? 'It lasts 1 to 366 days.' : null} cli={() => cli.addToken(name.trim(), chosen, days)} act={() => make.mutateAsync({ name: name.trim(), role: chosen, days: days ?? 0 })} onDone={(t) => onDone(t.secret)} onClose={onClose}>
      <TextInput label="Name" description="What uses it, for instance deploy-pipeline." value={name} onChange={(e) => setName(e.currentTarget.value)} maxLength={60} data-autofocus />
      <NativeSelect label="May" value={chosen} onChange={(e) => setRole(e.currentTarget.value)} data={upTo.map((r) => ({ value: r.value, label: `${r.title}: ${r.consequence}` }))} />
      <NumberField label="Days it works" value={days} onChange={setDays} min={1} max={366} />
    </ActionDialog>
  );
}
