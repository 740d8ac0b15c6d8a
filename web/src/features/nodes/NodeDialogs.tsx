import { Checkbox, NativeSelect, TextInput } from '@mantine/core';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Accepted, ClusterDetail, ClusterNode, Tags } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Note } from '../../components/Faces';
import { FieldRow, NumberField } from '../../components/Fields';
import { cli } from '../../lib/cli';
import { bytes, count } from '../../lib/format';
import { useHosts } from '../hosts/queries';
import { whyNotName } from '../wizard/names';
import { defaultPriority, tagWords } from './tags';

interface DialogProps {
  cluster: ClusterDetail;
  onClose: () => void;
  /** An operation began. */
  onStarted: (operation: string) => void;
}

type OfNode = DialogProps & { node: ClusterNode };

/** The first free name of the form cluster-n. */
export function nextName(cluster: string, taken: readonly string[]): string {
  for (let n = 1; ; n++) if (!taken.includes(`${cluster}-${n}`)) return `${cluster}-${n}`;
}

export function AddNodeDialog({ cluster, onClose, onStarted }: DialogProps) {
  const hosts = useHosts();
  const [name, setName] = useState(() => nextName(cluster.name, cluster.nodes.map((n) => n.name)));
  const [chosen, setAgent] = useState('');
  const [port, setPort] = useState<number | null>(null);
  const [priority, setPriority] = useState<number | null>(defaultPriority);
  const used = new Set(cluster.nodes.map((n) => n.agent));
  // Hosts without a node of this cluster come first: another copy on the same machine dies with it.
  const list = [...(hosts.data ?? [])].sort((a, b) => Number(used.has(a.agent)) - Number(used.has(b.agent)) || a.name.localeCompare(b.name));
  const agent = chosen || list[0]?.agent || '';
  const add = useChange((body: Record<string, unknown>) => api.post<Accepted>(path('clusters', cluster.id, 'nodes'), body), keys.cluster(cluster.id));
  const problem = cluster.nodes.some((n) => n.name === name) ? `${cluster.name} has a node ${name} already.` : (whyNotName(name) ?? (agent === '' ? 'No host has an agent. Join one first.' : null));
  return (
    <ActionDialog
      title={`Add a node to ${cluster.name}`}
      verb="Add node"
      reason="optional"
      blocked={problem}
      cli={({ reason }) => cli.addNode(cluster.id, name, agent, port, priority === defaultPriority ? null : priority, reason)}
      act={({ reason }) => add.mutateAsync({ name, agent, ...(port !== null && { port }), ...(priority !== null && { priority }), ...(reason && { reason }) })}
      onDone={(a) => onStarted(a.operationId)}
      onClose={onClose}
    >
      <p>It is started on the host, copies everything from the present primary, and can be promoted once it is in step. Writes go on meanwhile.</p>
      <FieldRow>
        <TextInput label="Name" value={name} onChange={(e) => setName(e.currentTarget.value)} spellCheck={false} />
        <NativeSelect label="Host" value={agent} onChange={(e) => setAgent(e.currentTarget.value)} data={list.map((h) => ({ value: h.agent, label: `${h.name}, ${bytes(h.memoryBytes)}${used.has(h.agent) ? ' (has one already)' : ''}` }))} />
      </FieldRow>
      <FieldRow>
        <NumberField label="Port" description="Empty: a free one is taken." value={port} onChange={setPort} min={1} max={65535} />
        <NumberField label="Priority" description="The highest is preferred as primary." value={priority} onChange={setPriority} min={0} max={1000} />
      </FieldRow>
      {used.has(agent) && (
        <Note tone="warn" title="This host has a node of the cluster already">
          <p>Both are lost if the machine is lost.</p>
        </Note>
      )}
    </ActionDialog>
  );
}

export function RemoveNodeDialog({ cluster, node, onClose, onStarted }: OfNode) {
  const [wipe, setWipe] = useState(false);
  const remove = useChange((body: Record<string, unknown>) => api.post<Accepted>(path('clusters', cluster.id, 'nodes', node.name, 'remove'), body), keys.cluster(cluster.id));
  const left = cluster.nodes.length - 1;
  return (
    <ActionDialog
      title={`Remove ${node.name} from ${cluster.name}`}
      verb={`Remove ${node.name}`}
      danger
      typed={node.name}
      reason="optional"
      cli={({ reason }) => cli.removeNode(cluster.id, node.name, wipe, reason)}
      act={({ typedName, reason }) => remove.mutateAsync({ typedName, generation: cluster.generation, wipe, ...(reason && { reason }) })}
      onDone={(a) => onStarted(a.operationId)}
      onClose={onClose}
    >
      <p>
        {node.name} stops following and is stopped. {count(left, 'node stays', 'nodes stay')}.
      </p>
      {left < 3 && (
        <Note tone="warn" title={left < 2 ? 'Nothing will be left to take over' : 'One more loss then leaves the primary without a copy'}>
          <p>Add a node first if this one is to be replaced.</p>
        </Note>
      )}
      <Checkbox checked={wipe} onChange={(e) => setWipe(e.currentTarget.checked)} label="Delete its data folder too" description="Else it stays on the host and can be looked at." />
    </ActionDialog>
  );
}

export function ResyncDialog({ cluster, node, onClose, onStarted }: OfNode) {
  const resync = useChange((reason: string) => api.post<Accepted>(path('clusters', cluster.id, 'nodes', node.name, 'resync'), reason === '' ? {} : { reason }), keys.cluster(cluster.id));
  return (
    <ActionDialog title={`Resync ${node.name}`} verb="Resync" reason="optional" cli={({ reason }) => cli.resync(cluster.id, node.name, reason)} act={({ reason }) => resync.mutateAsync(reason)} onDone={(a) => onStarted(a.operationId)} onClose={onClose}>
      <p>{node.name} follows the primary anew: only what it misses is sent where that is possible, else everything. While it copies it cannot be promoted. Other nodes are not touched.</p>
    </ActionDialog>
  );
}

const defaultMaintenanceMinutes = 60;

export function MaintenanceDialog({ cluster, node, onClose }: Omit<OfNode, 'onStarted'>) {
  const [minutes, setMinutes] = useState<number | null>(defaultMaintenanceMinutes);
  const begin = useChange((body: { minutes: number; reason: string }) => api.post(path('clusters', cluster.id, 'nodes', node.name, 'maintenance'), body), keys.cluster(cluster.id));
  return (
    <ActionDialog
      title={`Maintenance of ${node.name}`}
      verb="Begin maintenance"
      reason="needed"
      blocked={minutes === null || minutes < 1 || minutes > 10_080 ? 'Give 1 to 10080 minutes (a week).' : null}
      cli={({ reason }) => cli.maintenance(cluster.id, node.name, minutes ?? 0, reason)}
      act={({ reason }) => begin.mutateAsync({ minutes: minutes ?? 0, reason })}
      onDone={onClose}
      onClose={onClose}
    >
      <p>While it lasts {node.name} is not promoted and raises no alert. It ends by itself.</p>
      <NumberField label="Minutes" value={minutes} onChange={setMinutes} min={1} max={10_080} />
    </ActionDialog>
  );
}

export function TagsDialog({ cluster, node, onClose }: Omit<OfNode, 'onStarted'>) {
  const [tags, setTags] = useState<Tags>(node.tags);
  const [days, setDays] = useState<number | null>(null);
  const put = useChange((body: Omit<Tags, 'expires' | 'maintenance'> & { expires?: string }) => api.put(path('clusters', cluster.id, 'nodes', node.name, 'tags'), body), keys.cluster(cluster.id));
  const flags = { priority: tags.priority, nofailover: tags.noFailover, never: tags.never, nosync: tags.noSync, nobackup: tags.noBackup, days };
  return (
    <ActionDialog
      title={`Tags of ${node.name}`}
      verb="Save tags"
      blocked={tags.priority < 0 || tags.priority > 1000 ? 'The priority is 0 to 1000.' : null}
      cli={() => cli.tags(cluster.id, node.name, flags)}
      act={() =>
        put.mutateAsync({
          priority: tags.priority, noFailover: tags.noFailover, never: tags.never, noSync: tags.noSync, noBackup: tags.noBackup,
          ...(days !== null && days > 0 && { expires: new Date(Date.now() + days * 86_400_000).toISOString() }),
        })
      }
      onDone={onClose}
      onClose={onClose}
    >
      <FieldRow>
        <NumberField label="Priority" description="0 to 1000; the highest is preferred." value={tags.priority} onChange={(v) => setTags({ ...tags, priority: v ?? 0 })} min={0} max={1000} />
        <NumberField label="For days" description="Empty: until changed." value={days} onChange={setDays} min={1} max={365} />
      </FieldRow>
      {(Object.keys(tagWords) as (keyof typeof tagWords)[]).map((k) => (
        <Checkbox key={k} checked={tags[k]} onChange={(e) => setTags({ ...tags, [k]: e.currentTarget.checked })} label={tagWords[k].word[0]!.toUpperCase() + tagWords[k].word.slice(1)} description={tagWords[k].consequence} />
      ))}
    </ActionDialog>
  );
}
