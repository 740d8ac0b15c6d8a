import { Button } from '@mantine/core';
import { IconLink } from '@tabler/icons-react';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { has } from '../../api/capabilities';
import { troubleFrom } from '../../api/errors';
import type { AuditChain, AuditOutcome } from '../../api/types';
import { StatusBadge } from '../../components/Badges';
import { Stale, useTrouble } from '../../components/QueryFaces';
import { Empty, ErrorFace, Loading } from '../../components/Faces';
import { may, useRole } from '../session/session';
import { AuditDrawer, AuditRows } from './AuditRows';
import classes from './AuditTab.module.css';
import { exportHref } from './export';
import { outcomeWord } from './outcome';
import { useAudit } from './queries';

const route = getRouteApi('/shell/clusters/$id');

const filters: (AuditOutcome | 'all')[] = ['all', 'done', 'refused', 'rolled-back', 'failed'];

export function AuditTab() {
  const { id } = route.useParams();
  const { row: open, outcome = 'all' } = route.useSearch();
  const navigate = useNavigate();
  const audit = useAudit(id);
  const trouble = useTrouble(audit);
  const role = useRole();
  const patch = (change: { row?: string; outcome?: string }) => void navigate({ to: '.', search: (old) => ({ ...old, ...change }), replace: true, resetScroll: false });

  if (trouble) return <ErrorFace trouble={trouble} retrying={audit.isFetching} onRetry={() => void audit.refetch()} />;
  if (audit.data === undefined) return <Loading rows={6} height={48} label="Loading the audit" />;
  const all = audit.data.pages.flatMap((p) => p.rows);
  const rows = outcome === 'all' ? all : all.filter((r) => r.outcome === outcome);
  const shown = all.find((r) => r.id === open);
  return (
    <>
      {audit.isError && <Stale since={audit.dataUpdatedAt} why={troubleFrom(audit.error).title} />}
      <div className={classes.tools}>
        <div className={classes.filters} role="group" aria-label="Show only">
          {filters.map((f) => (
            <button key={f} type="button" className={classes.filter} aria-pressed={outcome === f} onClick={() => patch({ outcome: f === 'all' ? undefined : f })}>
              {f === 'all' ? 'All' : outcomeWord[f]}
            </button>
          ))}
        </div>
        <span className={classes.end}>
          <Chain chain={audit.data.pages[0]?.chain} />
          {has('GET /audit/export') && may.audit(role) && (
            <>
              <a href={exportHref('csv', id)} download>
                Export CSV
              </a>
              <a href={exportHref('json', id)} download>
                JSON
              </a>
            </>
          )}
        </span>
      </div>
      {rows.length === 0 ? (
        <Empty title={all.length === 0 ? 'Nothing was done to this cluster yet' : `No ${outcomeWord[outcome as AuditOutcome]?.toLowerCase() ?? ''} attempt so far`}>
          <p className="quiet">{all.length === 0 ? 'Promotions, refusals and undos will appear here: who asked, from where, what came of it and how long writes stalled.' : 'Choose “All” to see the others.'}</p>
        </Empty>
      ) : (
        <AuditRows rows={rows} onOpen={(row) => patch({ row })} />
      )}
      {audit.hasNextPage && (
        <Button variant="default" mt={16} onClick={() => void audit.fetchNextPage()} loading={audit.isFetchingNextPage}>
          Show older
        </Button>
      )}
      {open && <AuditDrawer row={shown} onClose={() => patch({ row: undefined })} />}
    </>
  );
}

/** Whether the records still are what was written. */
function Chain({ chain }: { chain: AuditChain | undefined }) {
  if (!chain || chain.records === 0) return null;
  return (
    <StatusBadge tone={chain.ok ? 'ok' : 'bad'} icon={chain.ok ? <IconLink size={15} aria-hidden /> : undefined}>
      {chain.sentence}
    </StatusBadge>
  );
}
