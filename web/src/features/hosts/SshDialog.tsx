import { Button, Checkbox, Modal, PasswordInput, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { HostTaskAccepted, SshRequest } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import dialog from '../../components/ActionDialog.module.css';
import { StatusBadge } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { ErrorFace, Loading, Note } from '../../components/Faces';
import { Choice, FieldRow, NumberField } from '../../components/Fields';
import classes from './HostsPage.module.css';
import { cli } from '../../lib/cli';
import { useHostTask } from './queries';

/** What the server answers when nobody has confirmed the machine's key yet. */
const confirmCode = 'confirm-host-key';

/** Installs the agent over SSH: sign in, confirm the machine's key, watch. */
export function SshDialog({ onClose }: { onClose: () => void }) {
  const [task, setTask] = useState<{ id: string; address: string } | null>(null);
  if (task) return <Progress id={task.id} address={task.address} onClose={onClose} />;
  return <Form onStarted={(id, address) => setTask({ id, address })} onClose={onClose} />;
}

function Form({ onStarted, onClose }: { onStarted: (task: string, address: string) => void; onClose: () => void }) {
  const [address, setAddress] = useState('');
  const [port, setPort] = useState<number | null>(22);
  const [user, setUser] = useState('root');
  const [by, setBy] = useState<'key' | 'password'>('key');
  const [key, setKey] = useState('');
  const [password, setPassword] = useState('');
  const [name, setName] = useState('');
  const [location, setLocation] = useState('');
  // The key that the machine at this address showed, and whether a person says that it is the right one.
  const [shown, setShown] = useState<{ address: string; port: number | null; key: string; detail: string } | null>(null);
  const [same, setSame] = useState(false);
  const install = useChange((body: SshRequest) => api.post<HostTaskAccepted>('/hosts/ssh', body), keys.hosts);
  const asked = shown !== null && shown.address === address.trim() && shown.port === port ? shown : null;
  const blocked =
    address.trim() === ''
      ? 'Give the address of the machine.'
      : user.trim() === ''
        ? 'Give the user.'
        : by === 'key' && key.trim() === ''
          ? 'Paste the private key.'
          : by === 'password' && password === ''
            ? 'Give the password.'
            : asked && !same
              ? 'Compare the key and confirm it.'
              : null;
  return (
    <ActionDialog
      title="Install the agent over SSH"
      verb={asked ? 'Install' : 'Ask for its key'}
      size={640}
      blocked={blocked}
      cli={() => cli.sshHost(address.trim(), user.trim(), { port: port === 22 ? null : port, 'key-file': by === 'key' ? 'KEY-FILE' : null, 'host-key': asked && same ? asked.key : null, name: name.trim(), location: location.trim() })}
      act={async () => {
        const body = { address: address.trim(), port: port ?? 22, user: user.trim(), ...(by === 'key' ? { key } : { password }), ...(asked && { hostKey: asked.key }), ...(name.trim() && { name: name.trim() }), ...(location.trim() && { location: location.trim() }) };
        try {
          return await install.mutateAsync(body);
        } catch (error) {
          const t = troubleFrom(error);
          if (asked || t.code !== confirmCode || !t.hostKey) throw error;
          setSame(false);
          setShown({ address: body.address, port, key: t.hostKey, detail: t.detail });
          return null;
        }
      }}
      onDone={(begun) => begun && onStarted(begun.taskId, address.trim())}
      onClose={onClose}
    >
      <p>The control plane signs in, copies one binary, starts it as a service and forgets the key or password.</p>
      <FieldRow>
        <TextInput label="Address" value={address} onChange={(e) => setAddress(e.currentTarget.value)} placeholder="10.0.0.7" autoComplete="off" spellCheck={false} data-autofocus />
        <NumberField label="Port" value={port} onChange={setPort} min={1} max={65535} />
        <TextInput label="User" value={user} onChange={(e) => setUser(e.currentTarget.value)} autoComplete="off" spellCheck={false} />
      </FieldRow>
      <Choice label="Sign in by" value={by} onChange={setBy} options={[{ value: 'key', title: 'a private key' }, { value: 'password', title: 'a password' }]} />
      {by === 'key' ? (
        <Textarea label="Private key" autosize minRows={3} maxRows={6} value={key} onChange={(e) => setKey(e.currentTarget.value)} spellCheck={false} autoComplete="off" placeholder="-----BEGIN OPENSSH PRIVATE KEY-----" styles={{ input: { fontFamily: 'var(--mono)', fontSize: 12 } }} />
      ) : (
        <PasswordInput label="Password" value={password} onChange={(e) => setPassword(e.currentTarget.value)} autoComplete="off" />
      )}
      <FieldRow>
        <TextInput label="Name" description="Empty: its own." value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" />
        <TextInput label="Location" description="Such as rack-a." value={location} onChange={(e) => setLocation(e.currentTarget.value)} autoComplete="off" />
      </FieldRow>
      {asked && (
        <>
          <Note tone="warn" title="Is it this machine?">
            <p>It shows this key. Yours is sent to it only after you confirmed that.</p>
            <p className={classes.fingerprint} data-testid="host-key">
              {asked.key}
            </p>
          </Note>
          <div className={classes.compare}>
            <span className="quiet">On the machine, this prints its keys:</span>
            <Command value="for k in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done" prompt label="Copy the command" />
          </div>
          <Checkbox checked={same} onChange={(e) => setSame(e.currentTarget.checked)} label="It is the same key" />
        </>
      )}
    </ActionDialog>
  );
}

const words: Record<string, string> = { connect: 'Sign in', look: 'Look at the machine', upload: 'Copy the program', join: 'Join', start: 'Start the agent' };

/** The installation as it goes; it goes on when this is closed. */
function Progress({ id, address, onClose }: { id: string; address: string; onClose: () => void }) {
  const task = useHostTask(id);
  const t = task.data;
  const [tone, word] = t === undefined || t.state === 'running' ? (['unknown', 'Running'] as const) : t.state === 'done' ? (['ok', 'Installed'] as const) : (['bad', 'Failed'] as const);
  return (
    <Modal opened onClose={onClose} size={640} radius={14} padding={24} title={<span className={dialog.title}>Installing the agent on {address}</span>} closeButtonProps={{ 'aria-label': 'Close' }}>
      <div className={dialog.form} data-testid="host-task" data-state={t?.state ?? 'running'}>
        {task.error && t === undefined ? (
          <ErrorFace trouble={troubleFrom(task.error)} onRetry={() => void task.refetch()} />
        ) : t === undefined ? (
          <Loading rows={2} label="Asking how it goes" />
        ) : (
          <>
            <span aria-live="polite">
              <StatusBadge tone={tone}>{word}</StatusBadge>
            </span>
            <ol className={classes.task}>
              {t.steps.map((s) => (
                <li key={`${s.step} ${s.at}`}>
                  <strong className="nowrap">{words[s.step] ?? s.step}</strong> <span className="quiet">{s.detail}</span>
                </li>
              ))}
            </ol>
            {t.state === 'failed' && (
              <Note tone="bad" title="The agent is not installed">
                <p>{t.error}</p>
              </Note>
            )}
            {t.state === 'done' && <p>It appears among the hosts as soon as its agent connects.</p>}
            {t.state === 'running' && <p className="quiet">It goes on when you close this.</p>}
          </>
        )}
        <Button variant="default" onClick={onClose} style={{ justifySelf: 'start' }}>
          Close
        </Button>
      </div>
    </Modal>
  );
}
