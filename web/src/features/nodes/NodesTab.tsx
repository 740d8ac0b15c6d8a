import { Button, Menu, Tooltip } from '@mantine/core';
import { IconDotsVertical, IconPlus, IconTool } from '@tabler/icons-react';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { Fragment, useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { ClusterDetail, ClusterNode } from '../../api/types';
import { Age, Dated } from '../../components/Age';
import { isLead, RoleBadge, StatusBadge } from '../../components/Badges';
import { copy } from '../../components/Copy';
import { Empty } from '../../components/Faces';
import { Guarded } from '../../components/Guarded';
import { cli } from '../../lib/cli';
import { bytes, dateTime, lagSeconds, sentenceCase, toNumber, unknown } from '../../lib/format';
import { useNow } from '../../lib/clock';
import { nodeTone } from '../../lib/severity';
import { whyNot } from '../clusters/can';
import { useCluster } from '../clusters/queries';
import { may, mayPromote, useRole, useSession } from '../session/session';
import { bareReason } from '../report/report';
import { SchedulesNote } from '../promote/SchedulesNote';
import { AddNodeDialog, MaintenanceDialog, RemoveNodeDialog, ResyncDialog, TagsDialog } from './NodeDialogs';
import classes from './NodesTab.module.css';
import { maintenanceUntil, setTags } from './tags';

const route = getRouteApi('/shell/clusters/$id');

const columns = ['Name', 'Role', 'Status', 'Promotable', 'Lag', 'Priority and tags', 'Hardware', 'Provider, location', 'Last update'] as const;

/** The event store keeps a priority of its own; other engines have theirs among the tags. */
function priorityOf(n: ClusterNode): number {
  return n.role === 'primary' || n.role === 'replica' ? n.tags.priority : n.priority;
}

/** The order in which roles are listed: who leads, who could, who stands apart. */
const rank: Record<string, number> = { leader: 0, primary: 0, follower: 1, replica: 1, clone: 2, 'read-only replica': 3, unknown: 4 };

export function sortNodes(nodes: readonly ClusterNode[]): ClusterNode[] {
  return [...nodes].sort((a, b) => (rank[a.role] ?? 4) - (rank[b.role] ?? 4) || a.name.localeCompare(b.name, undefined, { numeric: true }));
}

export function NodesTab() {
  const { id } = route.useParams();
  const navigate = useNavigate();
  const { data: c } = useCluster(id);
  const role = useRole();
  const [dialog, setDialog] = useState<NodeDialog | null>(null);
  if (!c) return null;
  const nodes = sortNodes(c.nodes);
  if (nodes.length === 0) {
    return (
      <Empty title="No node has reported yet">
        <p className="quiet">Nodes appear here as soon as the agent on their host connects.</p>
      </Empty>
    );
  }
  const started = (op: string) => {
    setDialog(null);
    void navigate({ to: '.', search: (old) => ({ ...old, op }) });
  };
  const close = () => setDialog(null);
  const open = (change: { node?: string; promote?: string }) => void navigate({ to: '.', search: (old) => ({ ...old, ...change }), resetScroll: false });
  const of = dialog?.node === undefined ? undefined : nodes.find((n) => n.name === dialog.node);
  return (
    <>
      <SchedulesNote cluster={c.id} />
      {has('POST /clusters/{id}/nodes') && may.operate(role) && c.engine !== 'eventstore' && (
        <div className={classes.tools}>
          <Guarded variant="default" size="xs" leftSection={<IconPlus size={15} />} why={whyNot(c, 'add-node')} onClick={() => setDialog({ kind: 'add' })}>
            Add node
          </Guarded>
        </div>
      )}
    <div className={`card ${classes.wrap}`}>
      <table className={classes.table}>
        <caption className="visually-hidden">Nodes of {c.name}</caption>
        <thead>
          <tr>
            {columns.map((h) => (
              <th key={h} scope="col">
                {h}
              </th>
            ))}
            <th scope="col">
              <span className="visually-hidden">Actions</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {nodes.map((n) => (
            <Row key={n.name} node={n} onOpen={() => open({ node: n.name })} onPromote={() => open({ promote: n.name })} menu={<RowMenu cluster={c} node={n} onOpen={setDialog} />} />
          ))}
        </tbody>
      </table>
    </div>
      {dialog?.kind === 'add' && <AddNodeDialog cluster={c} onClose={close} onStarted={started} />}
      {dialog?.kind === 'remove' && of && <RemoveNodeDialog cluster={c} node={of} onClose={close} onStarted={started} />}
      {dialog?.kind === 'resync' && of && <ResyncDialog cluster={c} node={of} onClose={close} onStarted={started} />}
      {dialog?.kind === 'maintenance' && of && <MaintenanceDialog cluster={c} node={of} onClose={close} />}
      {dialog?.kind === 'tags' && of && <TagsDialog cluster={c} node={of} onClose={close} />}
    </>
  );
}

interface NodeDialog {
  kind: 'add' | 'remove' | 'resync' | 'maintenance' | 'tags';
  node?: string;
}

/** What else can be done with a node; what cannot be taken back stands last. */
function RowMenu({ cluster, node: n, onOpen }: { cluster: ClusterDetail; node: ClusterNode; onOpen: (dialog: NodeDialog) => void }) {
  const role = useRole();
  const now = useNow();
  const end = useChange(() => api.post(path('clusters', cluster.id, 'nodes', n.name, 'maintenance'), { minutes: 0, reason: '' }), keys.cluster(cluster.id));
  const lead = isLead(n.role);
  const items: { label: string; act: () => void; line?: string }[] = [
    !lead && has('POST /clusters/{id}/nodes/{node}/resync') && may.operate(role) && { label: 'Resync…', act: () => onOpen({ kind: 'resync', node: n.name }) },
    has('POST /clusters/{id}/nodes/{node}/maintenance') &&
      may.operate(role) &&
      (maintenanceUntil(n, now) ? { label: 'End maintenance', act: () => end.mutate(undefined), line: cli.maintenance(cluster.id, n.name, 0) } : { label: 'Maintenance…', act: () => onOpen({ kind: 'maintenance', node: n.name }) }),
    has('PUT /clusters/{id}/nodes/{node}/tags') && may.operate(role) && { label: 'Priority and tags…', act: () => onOpen({ kind: 'tags', node: n.name }) },
  ].filter((x) => x !== false);
  const removable = !lead && has('POST /clusters/{id}/nodes/{node}/remove') && may.administer(role);
  if (cluster.engine === 'eventstore' || (items.length === 0 && !removable)) return null;
  return (
    <Menu position="bottom-end" width={190} shadow="md">
      <Menu.Target>
        <Button size="xs" variant="subtle" color="gray" px={6} aria-label={`More for ${n.name}`}>
          <IconDotsVertical size={15} />
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        {items.map((i) => (
          <Fragment key={i.label}>
            <Menu.Item onClick={i.act}>{i.label}</Menu.Item>
            {i.line !== undefined && <Menu.Item onClick={() => void copy(i.line ?? '')}>Copy it as command line</Menu.Item>}
          </Fragment>
        ))}
        {removable && (
          <>
            {items.length > 0 && <Menu.Divider />}
            <Menu.Item color="bad" onClick={() => onOpen({ kind: 'remove', node: n.name })}>
              Remove node…
            </Menu.Item>
          </>
        )}
      </Menu.Dropdown>
    </Menu>
  );
}

function Row({ node: n, onOpen, onPromote, menu }: { node: ClusterNode; onOpen: () => void; onPromote: () => void; menu: React.ReactNode }) {
  const session = useSession();
  const maintenance = maintenanceUntil(n, useNow());
  const tags = setTags(n.tags);
  const lead = isLead(n.role);
  return (
    <tr className={classes.row} data-testid={`node-${n.name}`} data-role={n.role}>
      <th scope="row">
        <button type="button" className={classes.name} onClick={onOpen}>
          {n.name}
        </button>
        <span className={`mono ${classes.under}`}>{n.address}</span>
      </th>
      <td data-label="Role">
        <Dated at={n.lastUpdate}>
          <RoleBadge role={n.role} shouldBe={n.shouldBe} />
        </Dated>
      </td>
      <td data-label="Status" className={classes.status}>
        <Dated at={n.lastUpdate}>
          <StatusBadge tone={nodeTone[n.status.level] ?? 'unknown'}>{sentenceCase(n.status.level)}</StatusBadge>
          {n.status.sentence && n.status.sentence.toLowerCase() !== n.status.level && <span className={classes.under}>{n.status.sentence}</span>}
        </Dated>
        {maintenance && (
          <span className={classes.maintenance}>
            <IconTool size={13} aria-hidden /> maintenance until {dateTime(maintenance).slice(11, 16)}
          </span>
        )}
      </td>
      <td data-label="Promotable" className={classes.wide}>
        <button type="button" className={classes.why} onClick={onOpen}>
          <span className="visually-hidden">Report of {n.name}, promotable:</span>
          <StatusBadge tone={n.promotable.ok ? 'ok' : lead ? 'unknown' : 'warn'}>{n.promotable.ok ? 'Yes' : 'No'}</StatusBadge>
          <span className={classes.reason}>{sentenceCase(bareReason(n.promotable.reason))}</span>
        </button>
      </td>
      <td data-label="Lag" className="num">
        <Dated at={n.lastUpdate}>
          <Lag node={n} />
        </Dated>
      </td>
      <td data-label="Priority and tags">
        <span className="num">{priorityOf(n)}</span>
        {tags.map((t) => (
          <span key={t} className={classes.tag}>
            {t}
          </span>
        ))}
      </td>
      <td data-label="Hardware" className="num nowrap">
        {n.hardware ? (
          <Tooltip label={`${n.hardware.model ? `${n.hardware.model}. ` : ''}Disk: ${bytes(n.hardware.diskFreeBytes)} free of ${bytes(n.hardware.diskTotalBytes)}`}>
            <span tabIndex={0}>
              {n.hardware.cores} cores, {bytes(n.hardware.memoryBytes)}
              <span className={classes.under}>{bytes(n.hardware.diskFreeBytes)} disk free</span>
            </span>
          </Tooltip>
        ) : (
          <span className="faint">{unknown}</span>
        )}
      </td>
      <td data-label="Provider, location">
        {n.provider || unknown}
        <span className={classes.under}>{n.location}</span>
      </td>
      <td data-label="Last update" className="nowrap">
        <Age at={n.lastUpdate} by={n.observedBy} />
        <span className={classes.under}>by {n.observedBy || 'nobody'}</span>
      </td>
      <td className={classes.actions}>
        {!lead && mayPromote(session.data?.role) && (
          <Button size="xs" variant="default" onClick={onPromote} aria-label={`Promote ${n.name}`}>
            Promote
          </Button>
        )}
        {menu}
      </td>
    </tr>
  );
}

function Lag({ node: n }: { node: ClusterNode }) {
  const b = toNumber(n.lagBytes);
  if (isLead(n.role)) return <span className="faint">leads</span>;
  if (b === null) return <span className="faint">unknown</span>;
  return (
    <>
      <span className="nowrap">{b === 0 ? 'None' : bytes(b)}</span>
      {toNumber(n.lagSeconds) !== null && b > 0 && <span className={classes.under}>{lagSeconds(n.lagSeconds)}</span>}
    </>
  );
}
