import { Checkbox, TextInput } from '@mantine/core';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { useChange } from '../../api/query';
import { ActionDialog } from '../../components/ActionDialog';
import { Note } from '../../components/Faces';
import { Choice, NumberField } from '../../components/Fields';
import { cli } from '../../lib/cli';
import { group as figures, toNumber } from '../../lib/format';
import { storeKeys } from './queries';
import { allStreams, strategies, streamName, usualSettings, whyNotSettings, whyNotSubscription, type Draft } from './store';
import classes from './Store.module.css';
import type { Subscription, SubscriptionDetail, SubscriptionSettings } from './types';

const flagOf: Record<keyof SubscriptionSettings, string> = {
  strategy: 'strategy', resolveLinks: 'resolve-links', extraStatistics: 'extra-statistics', messageTimeoutMs: 'timeout-ms', maxRetries: 'retries', checkpointAfterMs: 'checkpoint-after-ms', minCheckpoint: 'min-checkpoint', maxCheckpoint: 'max-checkpoint', maxSubscribers: 'max-consumers', liveBuffer: 'live-buffer', historyBuffer: 'history-buffer', readBatch: 'read-batch',
};

/** The command's flags for what differs. */
function flags(d: Draft, from: SubscriptionSettings): Record<string, string> {
  return Object.fromEntries(Object.entries(flagOf).flatMap(([k, flag]) => (d[k as keyof Draft] === from[k as keyof Draft] ? [] : [[flag, String(d[k as keyof Draft])]])));
}

function SettingsFields({ draft, onChange }: { draft: Draft; onChange: (d: Draft) => void }) {
  const number = (key: keyof Draft, label: string, description: string) => <NumberField key={key} label={label} description={description} value={draft[key] as number | null} onChange={(v) => onChange({ ...draft, [key]: v })} />;
  return (
    <>
      <Choice label="Which consumer gets an event" value={draft.strategy} onChange={(strategy) => onChange({ ...draft, strategy })} options={strategies} />
      <div className={classes.grid}>
        {number('messageTimeoutMs', 'Answer within', 'Milliseconds, then it is sent again; 0: any time.')}
        {number('maxRetries', 'Sent again', 'So often, then it is parked.')}
        {number('maxSubscribers', 'Consumers at most', '0: any number.')}
      </div>
      <Checkbox label="Send what links lead to" checked={draft.resolveLinks} onChange={(e) => onChange({ ...draft, resolveLinks: e.currentTarget.checked })} />
      <details className={classes.more}>
        <summary>Checkpoints and buffers</summary>
        <div className={classes.grid}>
          {number('checkpointAfterMs', 'Checkpoint after', 'Milliseconds at least.')}
          {number('minCheckpoint', 'With', 'Events at least.')}
          {number('maxCheckpoint', 'At once with', 'Events.')}
          {number('liveBuffer', 'Live buffer', 'Events.')}
          {number('historyBuffer', 'History buffer', 'Events, more than are read at once.')}
          {number('readBatch', 'Read at once', 'Events.')}
        </div>
      </details>
    </>
  );
}

type Begin = 'end' | 'start' | 'at';

export function NewSubscription({ cluster, onDone, onClose }: { cluster: string; onDone: (s: Subscription) => void; onClose: () => void }) {
  const [of, setOf] = useState<'one' | 'all'>('one');
  const [name, setName] = useState('');
  const [group, setGroup] = useState('');
  const [begin, setBegin] = useState<Begin>('end');
  const [at, setAt] = useState('');
  const [prefixes, setPrefixes] = useState('');
  const [draft, setDraft] = useState<Draft>(usualSettings);
  const stream = of === 'all' ? allStreams : name.trim();
  const from = begin === 'at' ? at.trim() : begin;
  const filter = of === 'all' ? prefixes.split(/[\s,]+/).filter(Boolean) : [];
  const make = useChange((body: object) => api.post<SubscriptionDetail>(`${path('clusters', cluster)}/subscriptions`, body), storeKeys.subscriptions(cluster));
  return (
    <ActionDialog
      title="New subscription"
      verb="Make it"
      reason="optional"
      size={640}
      blocked={whyNotSubscription(stream, group, from) ?? whyNotSettings(draft)}
      cli={({ reason }) => cli.createSubscription(cluster, stream, group.trim(), { from, 'filter-prefix': filter.join(','), ...flags(draft, usualSettings), reason })}
      act={({ reason }) => make.mutateAsync({ stream, group: group.trim(), from, settings: draft, ...(filter.length > 0 && { filter: { by: 'stream', prefixes: filter } }), ...(reason && { reason }) })}
      onDone={(d) => onDone(d.subscription)}
      onClose={onClose}
    >
      <Choice
        label="Events of"
        value={of}
        onChange={setOf}
        options={[
          { value: 'one', title: 'one stream', consequence: 'It need not exist yet.' },
          { value: 'all', title: 'all streams', consequence: 'Where you like only those whose names begin in a certain way.' },
        ]}
      />
      {of === 'one' ? (
        <TextInput label="Stream" placeholder="order-7" value={name} onChange={(e) => setName(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      ) : (
        <TextInput label="Only streams that begin with" description="Beginnings between commas; none: all. Decided once." placeholder="order-, invoice-" value={prefixes} onChange={(e) => setPrefixes(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      )}
      <TextInput label="Name of the subscription" placeholder="billing" value={group} onChange={(e) => setGroup(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <Choice
        label="Begins"
        value={begin}
        onChange={setBegin}
        options={[
          { value: 'end', title: 'with what comes', consequence: 'What is there already is not sent.' },
          { value: 'start', title: 'at the first event' },
          { value: 'at', title: of === 'all' ? 'at a position' : 'at a revision' },
        ]}
      />
      {begin === 'at' && <TextInput label={of === 'all' ? 'Position' : 'Revision'} placeholder={of === 'all' ? 'C:1024/P:1024' : '0'} value={at} onChange={(e) => setAt(e.currentTarget.value)} spellCheck={false} autoComplete="off" />}
      <SettingsFields draft={draft} onChange={setDraft} />
    </ActionDialog>
  );
}

export function EditSubscription({ cluster, detail: d, onClose }: { cluster: string; detail: SubscriptionDetail; onClose: () => void }) {
  const [before] = useState(d);
  const [draft, setDraft] = useState<Draft>(d.settings);
  const { stream, group } = before.subscription;
  const put = useChange((body: object) => api.put<SubscriptionDetail>(`${path('clusters', cluster)}/subscriptions`, body), storeKeys.subscriptions(cluster));
  const same = Object.keys(flags(draft, before.settings)).length === 0;
  return (
    <ActionDialog
      title={`Settings of ${group}`}
      verb="Change settings"
      reason="optional"
      size={640}
      blocked={same ? 'Nothing is changed yet.' : whyNotSettings(draft)}
      cli={({ reason }) => cli.editSubscription(cluster, stream, group, { ...flags(draft, before.settings), reason })}
      act={({ reason }) => put.mutateAsync({ stream, group, settings: draft, ...(reason && { reason }) })}
      onDone={onClose}
      onClose={onClose}
    >
      <Note tone="warn" title="Its consumers are dropped and connect anew">
        <p>Clients do so by themselves. What they had not answered is sent again.{before.subscription.checkpoint === '' && ` There is no checkpoint yet: it begins at ${before.from} once more.`}</p>
      </Note>
      <SettingsFields draft={draft} onChange={setDraft} />
    </ActionDialog>
  );
}

export function ReplayParked({ cluster, subscription: s, onClose }: { cluster: string; subscription: Subscription; onClose: () => void }) {
  const [which, setWhich] = useState<'all' | 'first'>('all');
  const [first, setFirst] = useState<number | null>(1);
  const replay = useChange((body: object) => api.post<{ sentence: string }>(`${path('clusters', cluster)}/subscriptions/replay`, body), storeKeys.subscriptions(cluster));
  const number = which === 'all' ? null : first;
  return (
    <ActionDialog
      title={`Replay parked events of ${s.group}`}
      verb="Replay"
      reason="optional"
      blocked={which === 'first' && (first === null || first < 1 || !Number.isInteger(first)) ? 'Say how many, from 1.' : null}
      cli={({ reason }) => cli.replaySubscription(cluster, s.stream, s.group, number, reason)}
      act={({ reason }) => replay.mutateAsync({ stream: s.stream, group: s.group, ...(number !== null && { first: number }), ...(reason && { reason }) })}
      onDone={onClose}
      onClose={onClose}
    >
      <p>They go to the consumers again, oldest first, before new events. What fails once more is parked once more: mend the consumers first.</p>
      <Choice
        label="How many"
        value={which}
        onChange={setWhich}
        options={[
          { value: 'all', title: `all ${figures(s.parked)} that are parked` },
          { value: 'first', title: 'some of the oldest', consequence: 'To see first whether they are handled now.', disabled: (toNumber(s.parked) ?? 0) < 2 },
        ]}
      />
      {which === 'first' && <NumberField label="So many" value={first} onChange={setFirst} min={1} />}
    </ActionDialog>
  );
}

export function DeleteSubscription({ cluster, subscription: s, onDone, onClose }: { cluster: string; subscription: Subscription; onDone: () => void; onClose: () => void }) {
  const remove = useChange((body: object) => api.post(`${path('clusters', cluster)}/subscriptions/delete`, body), storeKeys.subscriptions(cluster));
  return (
    <ActionDialog title={`Delete ${s.group}`} verb="Delete subscription" danger typed={s.group} reason="optional" cli={({ reason }) => cli.deleteSubscription(cluster, s.stream, s.group, reason)} act={({ typedName, reason }) => remove.mutateAsync({ stream: s.stream, group: s.group, typedName, ...(reason && { reason }) })} onDone={onDone} onClose={onClose}>
      <Note tone="bad" title="How far it came is forgotten">
        <p>
          Its checkpoint{s.parked !== '0' && `, its ${figures(s.parked)} parked events`} and its settings are gone, and its consumers are dropped. The events of {streamName(s.stream)} stay.
        </p>
      </Note>
    </ActionDialog>
  );
}
