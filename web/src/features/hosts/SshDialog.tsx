import { PasswordInput, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import { api } from '../../api/client';
import type { SshInstall } from '../../api/contract';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import { ActionDialog } from '../../components/ActionDialog';
import { Note } from '../../components/Faces';
import { Choice, FieldRow, NumberField } from '../../components/Fields';

/** Installs the agent over SSH. */
export function SshDialog({ onClose }: { onClose: () => void }) {
  const [address, setAddress] = useState('');
  const [port, setPort] = useState<number | null>(22);
  const [user, setUser] = useState('root');
  const [by, setBy] = useState<'key' | 'password'>('key');
  const [key, setKey] = useState('');
  const [password, setPassword] = useState('');
  const [hostKey, setHostKey] = useState('');
  const [name, setName] = useState('');
  const [location, setLocation] = useState('');
  const [done, setDone] = useState(false);
  const install = useChange((body: SshInstall) => api.post('/hosts/ssh', body), keys.hosts);
  const blocked = done
    ? 'Started. The host appears in the list once its agent connects.'
    : address.trim() === ''
      ? 'Give the address of the machine.'
      : user.trim() === ''
        ? 'Give the user.'
        : by === 'key' && key.trim() === ''
          ? 'Paste the private key.'
          : by === 'password' && password === ''
            ? 'Give the password.'
            : null;
  return (
    <ActionDialog
      title="Install the agent over SSH"
      verb="Install"
      size={640}
      blocked={blocked}
      act={() =>
        install.mutateAsync({
          address: address.trim(), port: port ?? 22, user: user.trim(), ...(by === 'key' ? { key } : { password }), ...(hostKey.trim() && { hostKey: hostKey.trim() }), ...(name.trim() && { name: name.trim() }), ...(location.trim() && { location: location.trim() }),
        })
      }
      onDone={() => {
        setKey('');
        setPassword('');
        setDone(true);
      }}
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
      <TextInput label="Host key" description="As ssh-keyscan prints it. Without it the first key seen is taken." value={hostKey} onChange={(e) => setHostKey(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      {hostKey.trim() === '' && (
        <Note tone="warn" title="The machine’s identity will not be checked">
          <p>Someone between you and it could take its place. Paste the host key to rule that out.</p>
        </Note>
      )}
      <FieldRow>
        <TextInput label="Name" description="Empty: its own." value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" />
        <TextInput label="Location" description="Such as rack-a." value={location} onChange={(e) => setLocation(e.currentTarget.value)} autoComplete="off" />
      </FieldRow>
    </ActionDialog>
  );
}
