import { NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { HostTaskAccepted, Machine, MachineRequest, ProviderAccount } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { ErrorFace, Loading } from '../../components/Faces';
import { FieldRow, NumberField } from '../../components/Fields';
import { cli } from '../../lib/cli';
import { count } from '../../lib/format';
import { whyNotName } from '../wizard/names';
import { maxMachines, namesOf, placeLabel, providerTitle, sizeLabel } from './machine';
import { useOptions } from './queries';

/** Asks for machines that join by themselves: account, place, size, names. */
export function NewMachineDialog({ accounts, onClose }: { accounts: readonly ProviderAccount[]; onClose: () => void }) {
  const [account, setAccount] = useState(accounts[0]?.name ?? '');
  const [chosenPlace, setPlace] = useState('');
  const [chosenSize, setSize] = useState('');
  const [name, setName] = useState('');
  const [many, setMany] = useState<number | null>(1);
  const [program, setProgram] = useState('');
  const [begun, setBegun] = useState<readonly string[]>([]);
  const places = useOptions(account, '');
  const place = chosenPlace || (places.data?.locations[0]?.name ?? '');
  // Sizes and prices differ from place to place.
  const options = useOptions(account, place);
  const sizes = options.data?.sizes ?? [];
  const size = sizes.some((s) => s.name === chosenSize) ? chosenSize : (sizes[0]?.name ?? '');
  const names = namesOf(name, many ?? 1);
  const left = names.filter((n) => !begun.includes(n));
  const make = useChange((body: MachineRequest) => api.post<HostTaskAccepted>('/hosts/create', body), keys.machines);
  const trouble = options.error ?? places.error;
  const blocked = trouble
    ? 'The provider does not say what it has.'
    : place === '' || size === ''
      ? 'Waiting for what the provider has.'
      : (whyNotName(name) ?? (many === null || many < 1 || many > maxMachines || !Number.isInteger(many) ? `From 1 to ${maxMachines} machines at a time.` : null));
  return (
    <ActionDialog
      title="New machine"
      verb={names.length > 1 ? `Make ${names.length} machines` : 'Make it'}
      size={640}
      blocked={blocked}
      cli={() => left.map((n) => cli.createMachine(n, account, place, size, program.trim())).join('\n')}
      act={async () => {
        // One after the other, so that a refusal names the machine it is about.
        for (const n of left) {
          await make.mutateAsync({ account, name: n, location: place, size, ...(program.trim() && { program: program.trim() }) });
          setBegun((b) => [...b, n]);
        }
      }}
      onDone={onClose}
      onClose={onClose}
    >
      <p>You pay for it from the moment it is made. At its first boot it fetches this very program from the control plane, compares its checksum, and joins with a token that works once.</p>
      <NativeSelect
        label="Account"
        value={account}
        onChange={(e) => {
          setAccount(e.currentTarget.value);
          setPlace('');
          setSize('');
        }}
        data={accounts.map((a) => ({ value: a.name, label: `${a.name} (${providerTitle(a.kind)})` }))}
      />
      {trouble ? (
        <ErrorFace trouble={troubleFrom(trouble)} onRetry={() => void (options.error ? options : places).refetch()} />
      ) : places.data === undefined || options.data === undefined ? (
        <Loading rows={2} label="Asking the provider what it has" />
      ) : (
        <>
          <NativeSelect label="Place" value={place} onChange={(e) => setPlace(e.currentTarget.value)} data={places.data.locations.map((p) => ({ value: p.name, label: placeLabel(p) }))} />
          <NativeSelect label="Size" description="The cheapest first." value={size} onChange={(e) => setSize(e.currentTarget.value)} data={sizes.map((s) => ({ value: s.name, label: sizeLabel(s) }))} />
        </>
      )}
      <FieldRow>
        <TextInput label="Name" description={names.length > 1 ? `${names[0] ?? ''} to ${names.at(-1) ?? ''}` : 'Of the machine and of the host.'} value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus />
        <NumberField label="How many" value={many} onChange={setMany} min={1} max={maxMachines} />
      </FieldRow>
      <TextInput label="Where it fetches the program" description="Empty: from this control plane. Needed where the machine cannot reach the address of this page." placeholder="https://control.example.org/api/v1/program" value={program} onChange={(e) => setProgram(e.currentTarget.value)} autoComplete="off" spellCheck={false} />
      {begun.length > 0 && left.length > 0 && (
        <p role="status">
          {count(begun.length, 'machine is', 'machines are')} being made: {begun.join(', ')}. {left[0]} was refused.
        </p>
      )}
    </ActionDialog>
  );
}

/** Deletes a machine and its disk; the server refuses while databases are on it. */
export function DeleteMachineDialog({ machine, onClose }: { machine: Machine; onClose: () => void }) {
  const remove = useChange(({ typedName }: { typedName: string }) => api.post<HostTaskAccepted>(path('machines', machine.id, 'delete'), { typedName }), keys.machines, keys.hosts);
  return (
    <ActionDialog title={`Delete the machine ${machine.name}`} verb={`Delete ${machine.name}`} danger typed={machine.name} cli={() => cli.deleteMachine(machine.id, machine.name)} act={({ typedName }) => remove.mutateAsync({ typedName })} onDone={onClose} onClose={onClose}>
      <p>The machine and its disk are gone for good at the provider, and its agent is refused from then on. A machine with databases is not deleted.</p>
    </ActionDialog>
  );
}
