import { Button, NativeSelect, PasswordInput, Switch, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { has } from '../../api/capabilities';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange, useGet } from '../../api/query';
import type { Delivery, EmailSettings, Notifications } from '../../api/types';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { CommandLine, CopyCommand } from '../../components/Copy';
import { Note } from '../../components/Faces';
import { FieldRow, NumberField } from '../../components/Fields';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { sentenceCase } from '../../lib/format';
import { splitList } from '../wizard/names';
import classes from './Settings.module.css';

/** Where alerts go. */
export function NotificationsPanel() {
  const notifications = useGet<Notifications>(keys.notifications, '/notifications', { route: '/notifications' });
  return (
    <Panel title="Notifications" lead="Where alerts and role changes are sent. Each is sent once, and once more when it is over.">
      <QueryFaces query={notifications} label="Loading the notifications" rows={2}>
        {(n) => <Form key={JSON.stringify(n)} saved={n} />}
      </QueryFaces>
    </Panel>
  );
}

/** Settings without what is answered only. */
function sendable(n: Notifications): Notifications {
  const mail = n.email?.host ? n.email : null;
  return {
    email: mail && { host: mail.host, port: mail.port, from: mail.from, to: mail.to ?? [], user: mail.user || undefined, password: mail.password, tls: mail.tls },
    webhooks: (n.webhooks ?? []).map((h) => ({ url: h.url, secret: h.secret })),
    allowPrivate: n.allowPrivate || undefined,
  };
}

function Form({ saved }: { saved: Notifications }) {
  const [mail, setMail] = useState(saved.email?.host ? saved.email : null);
  const [to, setTo] = useState((saved.email?.to ?? []).join(', '));
  const [hooks, setHooks] = useState(saved.webhooks ?? []);
  const put = useChange((body: Notifications) => api.put<Notifications>('/notifications', body), keys.notifications);
  const test = useChange(() => api.post<{ deliveries: Delivery[] | null }>('/notifications/test'));
  const wanted = sendable({ email: mail === null ? null : { ...mail, to: splitList(to) }, webhooks: hooks.filter((h) => h.url.trim() !== ''), allowPrivate: saved.allowPrivate });
  const dirty = JSON.stringify(wanted) !== JSON.stringify(sendable(saved));
  const shown = test.data?.deliveries ?? saved.deliveries ?? [];
  const problem =
    mail !== null && (mail.host.trim() === '' || mail.from.trim() === '' || splitList(to).length === 0)
      ? 'E-mail needs a server, a sender and at least one recipient.'
      : hooks.some((h) => h.url.trim() !== '' && !/^https?:\/\/\S+$/.test(h.url.trim()))
        ? 'A webhook begins with http:// or https://.'
        : null;
  const submit = (e: FormEvent) => {
    e.preventDefault();
    if (problem === null) put.mutate(wanted);
  };
  const error = put.error ?? test.error;
  const trouble = error ? troubleFrom(error) : null;
  return (
    <form onSubmit={submit} className={classes.two}>
      <Switch checked={mail !== null} onChange={(e) => setMail(e.currentTarget.checked ? { host: '', port: 587, from: '', to: [], user: '', tls: 'starttls' } : null)} label="E-mail" description="Through your own SMTP server." />
      {mail !== null && (
        <>
          <FieldRow>
            <TextInput label="Server" value={mail.host} onChange={(e) => setMail({ ...mail, host: e.currentTarget.value })} placeholder="smtp.example.org" spellCheck={false} autoComplete="off" />
            <NumberField label="Port" value={mail.port} onChange={(v) => setMail({ ...mail, port: v ?? 0 })} min={1} max={65535} />
          </FieldRow>
          <FieldRow>
            <TextInput label="From" value={mail.from} onChange={(e) => setMail({ ...mail, from: e.currentTarget.value })} placeholder="baton@example.org" spellCheck={false} autoComplete="off" />
            <TextInput label="To" description="Commas between several." value={to} onChange={(e) => setTo(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
          </FieldRow>
          <FieldRow>
            <TextInput label="User" value={mail.user ?? ''} onChange={(e) => setMail({ ...mail, user: e.currentTarget.value })} autoComplete="off" spellCheck={false} />
            <PasswordInput label="Password" description={mail.hasPassword ? 'Empty: as it is.' : 'Kept sealed.'} value={mail.password ?? ''} onChange={(e) => setMail({ ...mail, password: e.currentTarget.value || undefined })} autoComplete="new-password" />
          </FieldRow>
          <NativeSelect label="Encryption" value={mail.tls ?? 'starttls'} onChange={(e) => setMail({ ...mail, tls: e.currentTarget.value as EmailSettings['tls'] })} data={[{ value: 'starttls', label: 'STARTTLS (port 587)' }, { value: 'implicit', label: 'TLS from the start (port 465)' }, { value: 'none', label: 'none, only towards this machine' }]} maw={320} />
        </>
      )}
      <span style={{ fontWeight: 550 }}>Webhooks</span>
      {hooks.map((h, i) => (
        <div key={i} className={classes.row}>
          <TextInput label={i === 0 ? 'Address' : undefined} aria-label="Address of the webhook" value={h.url} onChange={(e) => setHooks(hooks.map((x, j) => (j === i ? { ...x, url: e.currentTarget.value } : x)))} placeholder="https://" spellCheck={false} autoComplete="off" />
          <PasswordInput label={i === 0 ? 'Secret' : undefined} aria-label="Secret of the webhook" placeholder={h.hasSecret ? 'as it is' : 'signs each message'} value={h.secret ?? ''} onChange={(e) => setHooks(hooks.map((x, j) => (j === i ? { ...x, secret: e.currentTarget.value || undefined } : x)))} autoComplete="new-password" w={200} />
          <Button variant="subtle" color="bad" onClick={() => setHooks(hooks.filter((_, j) => j !== i))}>
            Remove
          </Button>
        </div>
      ))}
      <Button variant="default" size="xs" style={{ justifySelf: 'start' }} onClick={() => setHooks([...hooks, { url: '' }])}>
        Add a webhook
      </Button>
      {saved.problem && (
        <Note tone="bad" title="The stored settings cannot be used">
          <p>{sentenceCase(saved.problem)}</p>
        </Note>
      )}
      {trouble && (
        <Note tone="bad" title={trouble.title}>
          {trouble.detail && <p>{trouble.detail}</p>}
          {trouble.fix && <p>{trouble.fix}</p>}
        </Note>
      )}
      <div className={classes.saveLine}>
        {has('PUT /notifications') && (
          <Button type="submit" disabled={!dirty || problem !== null} loading={put.isPending}>
            Save
          </Button>
        )}
        {has('POST /notifications/test') && (
          <Button variant="default" disabled={dirty || (!saved.email && (saved.webhooks ?? []).length === 0)} loading={test.isPending} onClick={() => test.mutate(undefined)}>
            Send a test
          </Button>
        )}
        {has('POST /notifications/test') && !dirty && <CopyCommand value={cli.testNotifications()} />}
        <span aria-live="polite" className="quiet" style={{ fontWeight: 450 }}>
          {problem ?? (test.isSuccess ? 'Sent, as below. Look whether it arrived.' : dirty ? 'Save first, then send a test.' : put.isSuccess ? 'Saved.' : '')}
        </span>
      </div>
      {dirty && problem === null && <CommandLine value={cli.notifications(wanted.email && { ...wanted.email, to: wanted.email.to ?? [] }, (wanted.webhooks ?? []).map((h) => h.url))} />}
      {shown.length > 0 && (
        <div>
          <span style={{ fontWeight: 550 }}>{test.data ? 'The test' : 'Last messages'}</span>
          <ul className={classes.list}>
            {shown.slice(0, 5).map((d) => (
              <li key={`${d.at} ${d.channel} ${d.subject}`}>
                <span>
                  {d.subject}
                  <span className={classes.quiet}>
                    {d.channel}, <Age at={d.at} sentence event />
                    {d.tries > 1 ? `, ${d.tries} tries` : ''}
                    {d.error ? `: ${d.error}` : ''}
                  </span>
                </span>
                <StatusBadge tone={d.ok ? 'ok' : 'bad'}>{d.ok ? 'Sent' : 'Not sent'}</StatusBadge>
              </li>
            ))}
          </ul>
        </div>
      )}
    </form>
  );
}
