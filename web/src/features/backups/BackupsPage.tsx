import type { BackupSummary } from '../../api/types';
import { Link } from '@tanstack/react-router';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, type Column } from '../../components/DataTable';
import { Empty } from '../../components/Faces';
import { PageHead } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { bytes } from '../../lib/format';
import { useClusters } from '../clusters/queries';
import { useBackups } from './queries';

/** Every cluster with its newest backup; those without one stand first. */
export function BackupsPage() {
  const backups = useBackups();
  const clusters = useClusters();
  const known = new Map((backups.data?.clusters ?? []).map((b) => [b.cluster, b]));
  for (const c of clusters.data ?? []) if (c.engine !== 'eventstore' && !known.has(c.id)) known.set(c.id, { cluster: c.id, newest: null, verified: null, count: 0, bytes: 0, gone: false });
  const rows = [...known.values()].sort((a, b) => (a.newest ? Date.parse(a.newest) : 0) - (b.newest ? Date.parse(b.newest) : 0) || a.cluster.localeCompare(b.cluster));
  const columns: Column<BackupSummary>[] = [
    {
      head: 'Cluster',
      cell: (b) => (
        <Link to="/clusters/$id/backups" params={{ id: b.cluster }}>
          {b.cluster}
        </Link>
      ),
    },
    { head: 'Newest', cell: (b) => (b.newest ? <Age at={b.newest} sentence event /> : <StatusBadge tone="warn">None yet</StatusBadge>) },
    { head: 'Newest verified', cell: (b) => (b.verified ? <StatusBadge tone="ok"><Age at={b.verified} sentence event /></StatusBadge> : <StatusBadge tone="unknown">Never verified</StatusBadge>) },
    { head: 'Backups', cell: (b) => b.count, kind: 'num' },
    { head: 'Stored', cell: (b) => bytes(b.bytes), kind: 'num' },
  ];
  return (
    <>
      <PageHead title="Backups" lead="Oldest first: what stands on top is what a lost machine room would cost most." />
      <QueryFaces query={backups} label="Loading the backups">
        {() =>
          rows.length === 0 ? (
            <Empty title="Nothing to back up yet">
              <p className="quiet">Create a cluster; its backups are listed here.</p>
            </Empty>
          ) : (
            <DataTable caption="Newest backup of each cluster" columns={columns} rows={rows} keyOf={(b) => b.cluster} />
          )
        }
      </QueryFaces>
    </>
  );
}
