import { Button, Drawer } from '@mantine/core';
import { IconLink } from '@tabler/icons-react';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { troubleFrom } from '../../api/errors';
import type { AuditChain, AuditOutcome, AuditRow } from '../../api/types';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { Empty, ErrorFace, Loading, Note } from '../../components/Faces';
import { dateTime, milliseconds, sentenceCase } from '../../lib/format';
import { useOperation } from '../operations/queries';
import { Steps } from '../operations/Steps';
import { OutcomeBadge } from './AuditLine';
import classes from './AuditTab.module.css';
import { outcomeWord } from './outcome';
import { useAudit } from './queries';

const route = getRouteApi('/shell/clusters/$id');

const filters: (AuditOutcome | 'all')[] = ['all', 'done', 'refused', 'rolled-back', 'failed'];

export function AuditTab() {
  const { id } = route.useParams();
  const { row: open, outcome = 'all' } = route.useSearch();
  const navigate = useNavigate();
  const audit = useAudit(id);
  const patch = (change: { row?: string; outcome?: string }) => void navigate({ to: '.', search: (old) => ({ ...old, ...change }), replace: true, resetScroll: false });

  if (audit.isPending) return <Loading rows={6} height={48} label="Loading the audit" />;
  if (audit.data === undefined) return <ErrorFace trouble={troubleFrom(audit.error)} onRetry={() => void audit.refetch()} />;
  const all = audit.data.pages.flatMap((p) => p.rows);
  const rows = outcome === 'all' ? all : all.filter((r) => r.outcome === outcome);
  const shown = all.find((r) => r.id === open);
  return (
    <>
      <div className={classes.tools}>
        <div className={classes.filters} role="group" aria-label="Show only">
          {filters.map((f) => (
            <button key={f} type="button" className={classes.filter} aria-pressed={outcome === f} onClick={() => patch({ outcome: f === 'all' ? undefined : f })}>
              {f === 'all' ? 'All' : outcomeWord[f]}
            </button>
          ))}
        </div>
        <Chain chain={audit.data.pages[0]?.chain} />
      </div>
      {rows.length === 0 ? (
        <Empty title={all.length === 0 ? 'Nothing was done to this cluster yet' : `No ${outcomeWord[outcome as AuditOutcome]?.toLowerCase() ?? ''} attempt so far`}>
          <p className="quiet">{all.length === 0 ? 'Promotions, refusals and undos will appear here: who asked, from where, what came of it and how long writes stalled.' : 'Choose “All” to see the others.'}</p>
        </Empty>
      ) : (
        <div className={`card ${classes.wrap}`}>
          <table className={classes.table}>
            <caption className="visually-hidden">Audit, newest first</caption>
            <thead>
              <tr>
                <th scope="col">When</th>
                <th scope="col">What</th>
                <th scope="col">Outcome</th>
                <th scope="col">Write stall</th>
                <th scope="col">From</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((r) => (
                <tr key={r.id} className={classes.row} data-testid="audit-row" data-outcome={r.outcome}>
                  <td className="num nowrap" data-label="When">
                    {dateTime(r.at)}
                    <span className={classes.under}>
                      <Age at={r.at} sentence event />
                    </span>
                  </td>
                  <td className={classes.what}>
                    <button type="button" className={classes.open} onClick={() => patch({ row: r.id })}>
                      <strong>{r.who}</strong> {r.what}
                    </button>
                    {r.detail && <span className={classes.under}>{sentenceCase(r.detail)}</span>}
                  </td>
                  <td data-label="Outcome">
                    <OutcomeBadge row={r} />
                  </td>
                  <td className="num nowrap" data-label="Write stall">
                    {r.stallMs === null ? <span className="faint">none</span> : milliseconds(r.stallMs)}
                  </td>
                  <td data-label="From">
                    {r.source}
                    <span className={classes.under}>
                      {r.role}
                      {r.ip ? `, ${r.ip}` : ''}
                    </span>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {audit.hasNextPage && (
        <Button variant="default" mt={16} onClick={() => void audit.fetchNextPage()} loading={audit.isFetchingNextPage}>
          Show older
        </Button>
      )}
      {open && (
        <Drawer opened onClose={() => patch({ row: undefined })} position="right" size={640} padding={24} title={<span className={classes.title}>What happened</span>} closeButtonProps={{ 'aria-label': 'Close' }}>
          {shown ? (
            <Detail row={shown} cluster={id} />
          ) : (
            <Note tone="unknown" title="This entry is not among the rows loaded">
              <p>Close this, choose “Show older”, and open it from the list.</p>
            </Note>
          )}
        </Drawer>
      )}
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

function Detail({ row, cluster }: { row: AuditRow; cluster: string }) {
  const operation = useOperation(row.operationId);
  return (
    <div className={classes.detail}>
      <p className={classes.sentence}>
        <strong>{row.who}</strong> {row.what}
      </p>
      <OutcomeBadge row={row} />
      {row.detail && <p className="quiet">{sentenceCase(row.detail)}</p>}
      <dl className={classes.facts}>
        <div>
          <dt>When</dt>
          <dd className="num">{dateTime(row.at)}</dd>
        </div>
        <div>
          <dt>Who</dt>
          <dd>
            {row.who}, {row.role}
          </dd>
        </div>
        <div>
          <dt>From</dt>
          <dd>
            {row.source}
            {row.ip ? `, ${row.ip}` : ''}
          </dd>
        </div>
        <div>
          <dt>Write stall</dt>
          <dd className="num">{row.stallMs === null ? 'none' : milliseconds(row.stallMs)}</dd>
        </div>
        {row.hash && (
          <div>
            <dt>Chain hash</dt>
            <dd className="mono">{row.hash}</dd>
          </div>
        )}
      </dl>
      {row.operationId !== null && (
        <section className={classes.steps}>
          <div className={classes.line}>
            <h2 className="section-title">Steps</h2>
            <Link to="/clusters/$id/operations/$op" params={{ id: cluster, op: row.operationId }}>
              Result and proof
            </Link>
          </div>
          {operation.isPending ? (
            <Loading rows={4} height={36} label="Loading the steps" />
          ) : operation.data === undefined ? (
            <ErrorFace trouble={troubleFrom(operation.error)} onRetry={() => void operation.refetch()} />
          ) : operation.data.steps.length === 0 ? (
            <p className="quiet">No step ran: it ended before the first.</p>
          ) : (
            <Steps steps={operation.data.steps} past={operation.data.pastPointOfNoReturn || operation.data.state === 'done'} />
          )}
        </section>
      )}
      <Command value={`baton audit ${cluster} --verify`} prompt label="Copy the command that checks the chain" />
    </div>
  );
}
