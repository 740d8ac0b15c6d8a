import { Button, NativeSelect, Switch, Textarea, TextInput } from '@mantine/core';
import { useState, type FormEvent } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { ClusterDetail, ClusterSettings, Policy, PolicyRequest } from '../../api/types';
import { CommandLine } from '../../components/Copy';
import { Note } from '../../components/Faces';
import { Choice, FieldRow, NumberField } from '../../components/Fields';
import { Facts, Panel } from '../../components/Page';
import { cli } from '../../lib/cli';
import { count, sentenceCase } from '../../lib/format';
import { useBackupTargets } from '../backups/queries';
import { splitList } from '../wizard/names';
import { changed, changeOf, whyNotPolicy } from './policy';
import classes from './Settings.module.css';

/** Durability, failover, access, backups, protection; each with what it brings. One save for all of it. */
export function PolicyForm({ cluster, settings, editable, onStarted }: { cluster: ClusterDetail; settings: ClusterSettings; editable: boolean; onStarted: (operation: string) => void }) {
  const [p, setPolicy] = useState<Policy>(settings.policy);
  const [cidrs, setCidrs] = useState((settings.policy.allowCidrs ?? []).join('\n'));
  const targets = useBackupTargets();
  const save = useChange((policy: PolicyRequest) => api.put<ClusterSettings>(path('clusters', cluster.id, 'settings'), policy), keys.settings(cluster.id), keys.cluster(cluster.id));
  const wanted: Policy = { ...p, allowCidrs: splitList(cidrs) };
  const dirty = changed({ ...settings.policy, allowCidrs: settings.policy.allowCidrs ?? [] }, wanted);
  const problem = whyNotPolicy(wanted, cluster.nodes.length);
  const set = (change: Partial<Policy>) => setPolicy({ ...p, ...change });
  const submit = (e: FormEvent) => {
    e.preventDefault();
    if (dirty && problem === null) save.mutate(changeOf(settings, wanted), { onSuccess: (s) => s.operationId && onStarted(s.operationId) });
  };
  const trouble = save.error ? troubleFrom(save.error) : null;
  const off = !editable || !has('PUT /clusters/{id}/settings');
  return (
    <form onSubmit={submit} className={classes.form}>
      <Panel title="In force now" lead="What these settings come to, as the planner sees the cluster at this moment.">
        <ul className={classes.consequences}>
          {(settings.consequences ?? []).map((s) => (
            <li key={s}>{sentenceCase(s)}</li>
          ))}
          {settings.ifPrimaryDies && (
            <li>
              <strong>If the primary died now:</strong> {settings.ifPrimaryDies}
            </li>
          )}
        </ul>
        {(settings.ifNodeDies ?? []).length > 0 && <Facts single facts={(settings.ifNodeDies ?? []).map((n) => [`If ${n.node} died`, n.sentence] as const)} />}
      </Panel>
      {(settings.warnings ?? []).map((w) => (
        <Note key={w} tone="warn" title={sentenceCase(w)} />
      ))}
      <fieldset disabled={off} className={classes.fields}>
        <Panel title="Durability">
          <Choice
            label="A write counts once"
            value={p.durability}
            onChange={(durability) => set({ durability, syncReplicas: durability === 'sync' ? Math.max(1, p.syncReplicas) : p.syncReplicas })}
            options={[
              { value: 'async', title: 'the primary has it', consequence: 'Fastest. A primary that dies suddenly may take the last writes with it.' },
              { value: 'sync', title: 'the primary and replicas have it', consequence: 'A sudden death of the primary loses nothing. Writes stop while too few replicas are in step.' },
            ]}
          />
          {p.durability === 'sync' && <NumberField label="Replicas that must have it" value={p.syncReplicas} onChange={(v) => set({ syncReplicas: v ?? 0 })} min={1} max={Math.max(1, cluster.nodes.length - 1)} maw={260} />}
        </Panel>
        <Panel title="Failover">
          <Choice
            label="When the primary dies"
            value={p.failover}
            onChange={(failover) => set({ failover })}
            options={[
              { value: 'off', title: 'do nothing', consequence: 'Writes stop until somebody promotes by hand.' },
              { value: 'no-loss', title: 'promote a replica that holds every acknowledged write', consequence: 'If none does, nothing is promoted and the page names the missing nodes.' },
              { value: 'bounded-loss', title: 'promote the best replica within a bound', consequence: 'Up to the bound below may be lost; what was lost is kept as a bundle when the old primary returns.' },
            ]}
          />
          {p.failover === 'bounded-loss' && (
            <FieldRow>
              <NumberField label="May lose, bytes" value={p.maxLossBytes} onChange={(v) => set({ maxLossBytes: v ?? 0 })} min={0} />
              <NumberField label="May lose, seconds" value={p.maxLossAgeSeconds} onChange={(v) => set({ maxLossAgeSeconds: v ?? 0 })} min={0} />
            </FieldRow>
          )}
          {p.failover !== 'off' && (
            <FieldRow>
              <NumberField label="Lease, ms" description="A cut-off primary stops within this time." value={p.leaseTtlMs} onChange={(v) => set({ leaseTtlMs: v ?? 0 })} min={3000} max={60_000} step={500} />
              <NumberField label="Cool-down, seconds" description="No second failover sooner." value={p.coolDownSeconds} onChange={(v) => set({ coolDownSeconds: v ?? 0 })} min={0} />
              <NativeSelect
                label="Without the control plane"
                description={p.mode === 'strict' ? 'The primary stops when its lease ends.' : 'The primary goes on while its replicas promise not to lead.'}
                value={p.mode}
                onChange={(e) => set({ mode: e.currentTarget.value as Policy['mode'] })}
                data={[{ value: 'auto', label: 'auto: failsafe from three nodes' }, { value: 'failsafe', label: 'failsafe' }, { value: 'strict', label: 'strict' }]}
              />
            </FieldRow>
          )}
          <Switch checked={p.restartFirst} onChange={(e) => set({ restartFirst: e.currentTarget.checked })} label="Try a restart of the primary first" description="A crashed process that comes back at once keeps its role." />
          <Switch checked={p.approval} onChange={(e) => set({ approval: e.currentTarget.checked })} label="A promotion by hand needs a second person" description="Another operator or an approver has to agree before it runs." />
        </Panel>
        <Panel title="Access" lead="Which networks may connect. Empty means any. The hosts of the cluster and the control plane always may.">
          <Textarea label="Networks, one a line" placeholder={'10.0.0.0/8\nfd00::/8'} autosize minRows={2} maxRows={8} value={cidrs} onChange={(e) => setCidrs(e.currentTarget.value)} spellCheck={false} styles={{ input: { fontFamily: 'var(--mono)', fontSize: 13 } }} />
        </Panel>
        <Panel title="Backups">
          <FieldRow>
            <TextInput label="Schedule" description="“@every 24h” or “0 3 * * *”; empty: only by hand." value={p.backupSchedule} onChange={(e) => set({ backupSchedule: e.currentTarget.value })} spellCheck={false} />
            <NumberField label="Keep the newest" description="0 keeps all." value={p.backupKeep} onChange={(v) => set({ backupKeep: v ?? 0 })} min={0} />
            <NativeSelect label="Store in" description="Targets are made in Settings." value={p.backupTarget} onChange={(e) => set({ backupTarget: e.currentTarget.value })} data={[{ value: '', label: 'the default target' }, ...withPresent((targets.data?.targets ?? []).map((t) => t.name), p.backupTarget)]} />
            <TextInput label="Restore drill" description="As the schedule above; empty: only by hand." value={p.drillSchedule} onChange={(e) => set({ drillSchedule: e.currentTarget.value })} spellCheck={false} />
          </FieldRow>
        </Panel>
        <Panel title="Deletion protection">
          <Switch checked={p.deletionProtection} onChange={(e) => set({ deletionProtection: e.currentTarget.checked })} label="This cluster cannot be deleted" description="Deleting it needs two acts: turn this off and save, then delete." />
        </Panel>
      </fieldset>
      {!off && (dirty || trouble || save.isSuccess) && (
        <div className={classes.save} data-dirty={dirty || undefined}>
          {trouble && (
            <Note tone="bad" title={trouble.title}>
              {trouble.detail && <p>{trouble.detail}</p>}
              {trouble.fix && <p>{trouble.fix}</p>}
            </Note>
          )}
          <div className={classes.saveLine}>
            <span aria-live="polite">{dirty ? (problem ?? `${count(changes(settings.policy, wanted), 'change')} not saved yet.`) : 'Saved.'}</span>
            {dirty && (
              <>
                <Button
                  variant="default"
                  onClick={() => {
                    setPolicy(settings.policy);
                    setCidrs((settings.policy.allowCidrs ?? []).join('\n'));
                    save.reset();
                  }}
                >
                  Discard
                </Button>
                <Button type="submit" disabled={problem !== null} loading={save.isPending}>
                  Save settings
                </Button>
              </>
            )}
          </div>
          {dirty && problem === null && <CommandLine value={cli.settings(cluster.id, changeOf(settings, wanted))} />}
        </div>
      )}
    </form>
  );
}

/** The present choice stays choosable although its target is gone. */
function withPresent(names: string[], present: string): { value: string; label: string }[] {
  const all = present !== '' && !names.includes(present) ? [...names, present] : names;
  return all.map((n) => ({ value: n, label: n }));
}

function changes(a: Policy, b: Policy): number {
  return (Object.keys(b) as (keyof Policy)[]).filter((k) => JSON.stringify(a[k] ?? null) !== JSON.stringify(b[k] ?? null)).length;
}
