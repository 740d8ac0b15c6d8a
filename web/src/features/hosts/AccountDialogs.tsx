import { NativeSelect, PasswordInput, TextInput } from '@mantine/core';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { ProviderAccount, ProviderAccountList, ProviderAccountRequest } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { FieldRow } from '../../components/Fields';
import { cli } from '../../lib/cli';
import { whyNotName } from '../wizard/names';
import { providers, providerTitle } from './machine';

/** Keeps access to a provider. The token is typed once; the server tries it before it keeps it. */
export function AddAccountDialog({ onClose }: { onClose: () => void }) {
  const [name, setName] = useState('');
  const [kind, setKind] = useState<ProviderAccountRequest['kind']>('hetzner');
  const [token, setToken] = useState('');
  const [endpoint, setEndpoint] = useState('');
  const add = useChange((body: ProviderAccountRequest) => api.post<ProviderAccountList>('/provider-accounts', body), keys.providerAccounts);
  const blocked = whyNotName(name) ?? (token.trim() === '' ? 'Paste the token.' : null);
  return (
    <ActionDialog
      title="Add a provider account"
      verb="Try and keep it"
      blocked={blocked}
      cli={() => cli.addAccount(name, kind, endpoint.trim())}
      act={() => add.mutateAsync({ name, kind, token: token.trim(), ...(endpoint.trim() && { endpoint: endpoint.trim() }) })}
      onDone={onClose}
      onClose={onClose}
    >
      <p>Baton asks the provider for its places with it, and keeps it sealed when the provider takes it. Nobody is shown the token again, you neither.</p>
      <FieldRow>
        <NativeSelect label="Provider" value={kind} onChange={(e) => setKind(e.currentTarget.value as ProviderAccountRequest['kind'])} data={providers.map((p) => ({ value: p.kind, label: p.title }))} />
        <TextInput label="Name" description="What you will call it here." placeholder="main" value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus />
      </FieldRow>
      <PasswordInput label="API token" description={`${providers.find((p) => p.kind === kind)?.console ?? ''}.`} value={token} onChange={(e) => setToken(e.currentTarget.value)} autoComplete="off" />
      <TextInput label="Address of its API" description="Empty: the provider’s own." value={endpoint} onChange={(e) => setEndpoint(e.currentTarget.value)} autoComplete="off" spellCheck={false} />
    </ActionDialog>
  );
}

/** Forgets access; the server refuses while machines of it are there. */
export function RemoveAccountDialog({ account, onClose }: { account: ProviderAccount; onClose: () => void }) {
  const remove = useChange(() => api.delete(path('provider-accounts', account.name)), keys.providerAccounts);
  return (
    <ActionDialog title={`Forget the account ${account.name}`} verb={`Forget ${account.name}`} danger typed={account.name} cli={() => cli.removeAccount(account.name)} act={() => remove.mutateAsync(undefined)} onDone={onClose} onClose={onClose}>
      <p>Its token is forgotten here. At {providerTitle(account.kind)} it goes on to work until it is revoked there.</p>
    </ActionDialog>
  );
}
