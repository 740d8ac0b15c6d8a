import { Button, NativeSelect, PasswordInput, TextInput } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { has } from '../../api/capabilities';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Accepted, AdoptPreview, AdoptRequest } from '../../api/types';
import { RoleBadge } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { DataTable } from '../../components/DataTable';
import { Note } from '../../components/Faces';
import { FieldRow } from '../../components/Fields';
import { PageHead } from '../../components/Page';
import { cli } from '../../lib/cli';
import { bytes, count, sentenceCase, toNumber } from '../../lib/format';
import { useHosts } from '../hosts/queries';
import { whyNotName } from './names';
import classes from './Wizard.module.css';

/** Takes servers that run already under watch: look first, then adopt. */
export function AdoptPage() {
  const navigate = useNavigate();
  const hosts = useHosts();
  const [form, setForm] = useState<AdoptRequest>({ name: '', primary: '', agent: '', user: '', password: '' });
  const agent = form.agent || hosts.data?.[0]?.agent || '';
  const preview = useChange((body: AdoptRequest) => api.post<AdoptPreview>('/clusters/adopt/preview', body));
  const adopt = useChange((body: AdoptRequest) => api.post<Accepted>('/clusters/adopt', body), keys.clusters);
  const set = (change: Partial<AdoptRequest>) => {
    setForm({ ...form, ...change });
    preview.reset();
  };
  const body: AdoptRequest = { name: form.name, primary: form.primary.trim(), agent, ...(form.user && { user: form.user }), ...(form.password && { password: form.password }) };
  const problem = whyNotName(form.name) ?? (/^[^\s:]+:\d{1,5}$|^\[[0-9a-f:]+\]:\d{1,5}$/i.test(body.primary) ? null : 'The primary is written host:port.') ?? (agent === '' ? 'No host has an agent yet.' : null);
  const refused = (preview.data?.refusals ?? []).length > 0;
  const ready = preview.data !== undefined && !refused;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    if (problem !== null) return;
    if (!ready) preview.mutate(body);
    else adopt.mutate(body, { onSuccess: (a) => void navigate({ to: '/clusters/$id/operations/$op', params: { id: form.name, op: a.operationId } }) });
  };
  const error = adopt.error ?? preview.error;
  const trouble = error ? troubleFrom(error) : null;
  return (
    <>
      <PageHead title="Adopt a cluster" lead="A primary with its replicas that run already. Looking changes nothing; adopting keeps all data, addresses and passwords." />
      <form onSubmit={submit} className={`card ${classes.card}`}>
        <FieldRow>
          <TextInput label="Name" value={form.name} onChange={(e) => set({ name: e.currentTarget.value })} autoFocus autoComplete="off" spellCheck={false} />
          <TextInput label="Address of the primary" placeholder="10.0.0.5:6379" value={form.primary} onChange={(e) => set({ primary: e.currentTarget.value })} autoComplete="off" spellCheck={false} />
          <NativeSelect label="Agent that reaches it" value={agent} onChange={(e) => set({ agent: e.currentTarget.value })} data={(hosts.data ?? []).map((h) => ({ value: h.agent, label: h.name }))} />
        </FieldRow>
        <FieldRow>
          <TextInput label="User" description="Empty: the default user." value={form.user} onChange={(e) => set({ user: e.currentTarget.value })} autoComplete="off" spellCheck={false} />
          <PasswordInput label="Password" description="Kept sealed, never shown again." value={form.password} onChange={(e) => set({ password: e.currentTarget.value })} autoComplete="new-password" />
        </FieldRow>
        {trouble && (
          <Note tone="bad" title={trouble.title}>
            {trouble.detail && <p>{trouble.detail}</p>}
            {(trouble.refusals ?? []).map((r) => (
              <p key={r.code}>
                {r.title}. {r.fix}
              </p>
            ))}
            {trouble.fix && <p>{trouble.fix}</p>}
          </Note>
        )}
        {preview.data && (
          <div className={classes.body} data-testid="adopt-preview">
            {(preview.data.refusals ?? []).map((r) => (
              <Note key={`${r.code} ${r.detail}`} tone="bad" title={sentenceCase(r.title)}>
                {r.detail && <p>{sentenceCase(r.detail)}</p>}
                {r.fix && (
                  <p>
                    <strong>Repair:</strong> {sentenceCase(r.fix)}
                  </p>
                )}
              </Note>
            ))}
            {ready && (
              <Note tone="ok" title={`${count((preview.data.nodes ?? []).length, 'node')} found. They can be adopted as they are.`}>
                <p>From then on the control plane watches them, and restarts and promotes them as its settings say.</p>
              </Note>
            )}
            <DataTable
              caption="Nodes found"
              rows={preview.data.nodes ?? []}
              keyOf={(n) => n.address}
              columns={[
                { head: 'Address', cell: (n) => <code>{n.address}</code> },
                { head: 'Role', cell: (n) => <RoleBadge role={n.role} /> },
                { head: 'Version', cell: (n) => n.version || '–' },
                { head: 'Lag', cell: (n) => (n.lagBytes === null ? '–' : toNumber(n.lagBytes) === 0 ? 'None' : bytes(n.lagBytes)), kind: 'num' },
              ]}
            />
          </div>
        )}
        <div className={classes.buttons}>
          {!refused && (
            <Button type="submit" loading={preview.isPending || adopt.isPending} disabled={problem !== null || (ready && !has('POST /clusters/adopt'))}>
              {ready ? `Adopt as ${form.name}` : 'Look first'}
            </Button>
          )}
          {refused && (
            <Button loading={preview.isPending} onClick={() => preview.mutate(body)}>
              Look again
            </Button>
          )}
          <span className="quiet" aria-live="polite">
            {form.name !== '' && problem ? problem : refused ? 'Repair what refuses, then look again.' : ''}
          </span>
        </div>
        <div className={classes.cli}>
          <span className="faint">The same from the command line; it asks for the password</span>
          <Command value={cli.adopt(form.name, body.primary, agent, form.user)} prompt label="Copy as command line" />
        </div>
      </form>
    </>
  );
}
