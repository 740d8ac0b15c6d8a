import { Button, Tooltip } from '@mantine/core';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import type { ClusterNode } from '../../api/types';
import { Age, Dated } from '../../components/Age';
import { isLead, RoleBadge, StatusBadge } from '../../components/Badges';
import { Empty } from '../../components/Faces';
import { bytes, lagSeconds, sentenceCase, toNumber, unknown } from '../../lib/format';
import { nodeTone } from '../../lib/severity';
import { useCluster } from '../clusters/queries';
import { mayPromote, useSession } from '../session/session';
import { bareReason } from '../report/report';
import classes from './NodesTab.module.css';

const route = getRouteApi('/shell/clusters/$id');

const columns = ['Name', 'Role', 'Status', 'Promotable', 'Lag', 'Priority', 'Hardware', 'Provider and location', 'Last update'] as const;

/** The order in which roles are listed: who leads, who could, who stands apart. */
const rank: Record<string, number> = { leader: 0, primary: 0, follower: 1, replica: 1, clone: 2, 'read-only replica': 3, unknown: 4 };

export function sortNodes(nodes: readonly ClusterNode[]): ClusterNode[] {
  return [...nodes].sort((a, b) => (rank[a.role] ?? 4) - (rank[b.role] ?? 4) || a.name.localeCompare(b.name, undefined, { numeric: true }));
}

export function NodesTab() {
  const { id } = route.useParams();
  const navigate = useNavigate();
  const { data: c } = useCluster(id);
  if (!c) return null;
  const nodes = sortNodes(c.nodes);
  if (nodes.length === 0) {
    return (
      <Empty title="No node has reported yet">
        <p className="quiet">Nodes appear here as soon as the agent on their host connects.</p>
      </Empty>
    );
  }
  const open = (change: { node?: string; promote?: string }) => void navigate({ to: '.', search: (old) => ({ ...old, ...change }), resetScroll: false });
  return (
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
            <Row key={n.name} node={n} onOpen={() => open({ node: n.name })} onPromote={() => open({ promote: n.name })} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ node: n, onOpen, onPromote }: { node: ClusterNode; onOpen: () => void; onPromote: () => void }) {
  const session = useSession();
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
      <td data-label="Status">
        <Dated at={n.lastUpdate}>
          <StatusBadge tone={nodeTone[n.status.level] ?? 'unknown'}>{sentenceCase(n.status.level)}</StatusBadge>
          {n.status.sentence && n.status.sentence.toLowerCase() !== n.status.level && <span className={classes.under}>{n.status.sentence}</span>}
        </Dated>
      </td>
      <td data-label="Promotable" className={classes.wide}>
        <button type="button" className={classes.why} onClick={onOpen} aria-label={`Report of ${n.name}: ${n.promotable.ok ? 'promotable' : `not promotable, ${bareReason(n.promotable.reason)}`}`}>
          <StatusBadge tone={n.promotable.ok ? 'ok' : lead ? 'unknown' : 'warn'}>{n.promotable.ok ? 'Yes' : 'No'}</StatusBadge>
          <span className={classes.reason}>{sentenceCase(bareReason(n.promotable.reason))}</span>
        </button>
      </td>
      <td data-label="Lag" className="num">
        <Dated at={n.lastUpdate}>
          <Lag node={n} />
        </Dated>
      </td>
      <td data-label="Priority" className="num">
        {n.priority}
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
      <td data-label="Provider and location">
        {n.provider || unknown}
        <span className={classes.under}>{n.location}</span>
      </td>
      <td data-label="Last update">
        <Age at={n.lastUpdate} by={n.observedBy} />
        <span className={classes.under}>by {n.observedBy || 'nobody'}</span>
      </td>
      <td className={classes.actions}>
        {!lead && (
          <Button size="xs" variant="default" onClick={onPromote} disabled={!mayPromote(session.data?.role)} aria-label={`Promote ${n.name}`}>
            Promote
          </Button>
        )}
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
