import { Checkbox, Textarea, TextInput } from '@mantine/core';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { useChange } from '../../api/query';
import { ActionDialog } from '../../components/ActionDialog';
import { Note } from '../../components/Faces';
import { Choice } from '../../components/Fields';
import { cli } from '../../lib/cli';
import { storeKeys } from './queries';
import { templates, whyNotProjection } from './store';
import classes from './Store.module.css';
import type { ProjectionDetail } from './types';

const mono = { input: { fontFamily: 'var(--mono)', fontSize: 12.5, lineHeight: 1.55 } };

function Source({ value, onChange }: { value: string; onChange: (v: string) => void }) {
  return <Textarea label="Source, JavaScript" autosize minRows={10} maxRows={22} value={value} onChange={(e) => onChange(e.currentTarget.value)} spellCheck={false} styles={mono} />;
}

export function NewProjection({ cluster, onDone, onClose }: { cluster: string; onDone: (name: string) => void; onClose: () => void }) {
  const [name, setName] = useState('');
  const [template, setTemplate] = useState(templates[0]!.value);
  const [query, setQuery] = useState(templates[0]!.query);
  const [mode, setMode] = useState<'continuous' | 'transient'>('continuous');
  const [emit, setEmit] = useState(false);
  const [track, setTrack] = useState(false);
  const make = useChange((body: object) => api.post<ProjectionDetail>(`${path('clusters', cluster)}/projections`, body), storeKeys.projections(cluster));
  const follows = mode === 'continuous';
  const flags = { ...(!follows && { mode }), emit: follows && emit, track: follows && emit && track };
  const choose = (value: string) => {
    const t = templates.find((x) => x.value === value)!;
    setTemplate(value);
    setQuery(t.query);
    setEmit(t.emit);
  };
  return (
    <ActionDialog
      title="New projection"
      verb="Make it"
      reason="optional"
      size={720}
      blocked={whyNotProjection(name.trim(), query)}
      cli={({ reason }) => cli.createProjection(cluster, name.trim(), { ...flags, reason })}
      act={({ reason }) => make.mutateAsync({ name: name.trim(), query, mode, emit: flags.emit, track: flags.track, ...(reason && { reason }) })}
      onDone={() => onDone(name.trim())}
      onClose={onClose}
    >
      <TextInput label="Name" placeholder="totals" value={name} onChange={(e) => setName(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <Choice label="Begin from" value={template} onChange={choose} options={templates} />
      <Source value={query} onChange={setQuery} />
      <Choice
        label="It runs"
        value={mode}
        onChange={setMode}
        options={[
          { value: 'continuous', title: 'for good', consequence: 'It follows what is written, also on the next leader.' },
          { value: 'transient', title: 'once', consequence: 'Over what there is; it is forgotten when another node leads.' },
        ]}
      />
      {follows && (
        <div className={classes.checks}>
          <Checkbox label="It may write events and links" checked={emit} onChange={(e) => setEmit(e.currentTarget.checked)} />
          {emit && <Checkbox label="Note the streams it writes to, so that they can be deleted with it" checked={track} onChange={(e) => setTrack(e.currentTarget.checked)} />}
        </div>
      )}
    </ActionDialog>
  );
}

export function EditProjection({ cluster, detail: d, onClose }: { cluster: string; detail: ProjectionDetail; onClose: () => void }) {
  const [before] = useState(d);
  const [query, setQuery] = useState(d.query);
  const [emit, setEmit] = useState(d.emit ?? false);
  const { name } = before.projection;
  const put = useChange((body: object) => api.put<ProjectionDetail>(`${path('clusters', cluster)}/projections`, body), storeKeys.projections(cluster));
  const same = query === before.query && emit === (before.emit ?? false);
  return (
    <ActionDialog
      title={`Source of ${name}`}
      verb="Save"
      reason="optional"
      size={820}
      blocked={same ? 'Nothing is changed yet.' : whyNotProjection(name, query)}
      cli={({ reason }) => cli.editProjection(cluster, name, emit, reason)}
      act={({ reason }) => put.mutateAsync({ name, query, emit, ...(reason && { reason }) })}
      onDone={onClose}
      onClose={onClose}
    >
      <p>It goes on from where it is, with the state it has. Reset it afterwards to have everything handled by the new source.</p>
      <Source value={query} onChange={setQuery} />
      <Checkbox label="It may write events and links" checked={emit} onChange={(e) => setEmit(e.currentTarget.checked)} />
    </ActionDialog>
  );
}

export type Command = 'enable' | 'disable' | 'abort' | 'reset';

const words: Record<Command, { verb: string; does: string }> = {
  enable: { verb: 'Enable', does: 'It goes on from its last checkpoint.' },
  disable: { verb: 'Disable', does: 'It writes a checkpoint and stands still. What is written meanwhile is handled when it is enabled.' },
  abort: { verb: 'Abort', does: 'It stands still at once, without a checkpoint: what it did since the last one is done again when it is enabled. For one that cannot be disabled.' },
  reset: { verb: 'Reset', does: '' },
};

export function CommandDialog({ cluster, name, command, emits, onClose }: { cluster: string; name: string; command: Command; emits: boolean | null; onClose: () => void }) {
  const send = useChange((body: object) => api.post(`${path('clusters', cluster)}/projections/command`, body), storeKeys.projections(cluster));
  const { verb, does } = words[command];
  const reset = command === 'reset';
  return (
    <ActionDialog
      title={`${verb} ${name}`}
      verb={verb}
      danger={reset}
      typed={reset ? name : undefined}
      reason="optional"
      cli={({ reason }) => cli.commandProjection(cluster, name, command, reason)}
      act={({ typedName, reason }) => send.mutateAsync({ name, command, ...(reset && { typedName }), ...(reason && { reason }) })}
      onDone={onClose}
      onClose={onClose}
    >
      {reset ? (
        <Note tone="warn" title="It begins anew with an empty state">
          <p>Every event is handled again from the first; until it has caught up its state is behind.{emits && ' What it writes is written once more.'}</p>
        </Note>
      ) : (
        <p>{does}</p>
      )}
    </ActionDialog>
  );
}

export function DeleteProjection({ cluster, detail: d, onDone, onClose }: { cluster: string; detail: ProjectionDetail; onDone: () => void; onClose: () => void }) {
  const [emitted, setEmitted] = useState(false);
  const [state, setState] = useState(true);
  const [checkpoint, setCheckpoint] = useState(true);
  const { name } = d.projection;
  const remove = useChange((body: object) => api.post(`${path('clusters', cluster)}/projections/delete`, body), storeKeys.projections(cluster));
  const on = d.projection.state === 'running' || d.projection.state === 'changing';
  return (
    <ActionDialog
      title={`Delete ${name}`}
      verb="Delete projection"
      danger
      typed={name}
      reason="optional"
      blocked={on ? 'Disable it first.' : null}
      cli={({ reason }) => cli.deleteProjection(cluster, name, { emitted, state, checkpoint, reason })}
      act={({ typedName, reason }) => remove.mutateAsync({ name, typedName, emitted, state, checkpoint, ...(reason && { reason }) })}
      onDone={onDone}
      onClose={onClose}
    >
      <Note tone="bad" title="Its source and settings are gone">
        <p>Clients that read its state or its streams find nothing new there.</p>
      </Note>
      <div className={classes.checks}>
        <Checkbox label="Delete its state too" checked={state} onChange={(e) => setState(e.currentTarget.checked)} />
        <Checkbox label="Delete its checkpoints too" checked={checkpoint} onChange={(e) => setCheckpoint(e.currentTarget.checked)} />
        {d.emit !== false && <Checkbox label={d.track === false ? 'Delete the streams it wrote to too (they were not noted)' : 'Delete the streams it wrote to too'} disabled={d.track === false} checked={emitted} onChange={(e) => setEmitted(e.currentTarget.checked)} />}
      </div>
    </ActionDialog>
  );
}
