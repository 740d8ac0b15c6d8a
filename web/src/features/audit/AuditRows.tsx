import { Drawer } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { troubleFrom } from '../../api/errors';
import type { AuditRow } from '../../api/types';
import { Age } from '../../components/Age';
import { Command } from '../../components/Copy';
import { ErrorFace, Loading, Note } from '../../components/Faces';
import { useReturnFocus } from '../../components/returnFocus';
import { dateTime, sentenceCase } from '../../lib/format';
import { cli } from '../../lib/cli';
import { useOperation } from '../operations/queries';
import { Steps } from '../operations/Steps';
import { OutcomeBadge } from './AuditLine';
import { sourceWord, stallWords } from './outcome';
import classes from './AuditTab.module.css';

/** What was done, a sentence a row; each opens its details. */
export function AuditRows({ rows, onOpen, withCluster = false }: { rows: readonly AuditRow[]; onOpen: (id: string) => void; withCluster?: boolean }) {
  return (
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
                <button type="button" className={classes.open} onClick={() => onOpen(r.id)}>
                  <strong>{r.who}</strong> {r.what}
                </button>
                {withCluster && r.cluster && <span className={classes.cluster}>{r.cluster}</span>}
                    {r.detail && <span className={classes.under}>{sentenceCase(r.detail)}</span>}
              </td>
              <td data-label="Outcome">
                <OutcomeBadge row={r} />
              </td>
              <td className="num nowrap" data-label="Write stall">
                {r.stallMs === null ? <span className="faint">{stallWords(r)}</span> : stallWords(r)}
              </td>
              <td data-label="From">
                {sourceWord[r.source] ?? r.source}
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
  );
}

/** One row in depth, at the side of the page. */
export function AuditDrawer({ row, onClose }: { row: AuditRow | undefined; onClose: () => void }) {
  useReturnFocus();
  return (
    <Drawer opened onClose={onClose} position="right" size={640} padding={24} title={<span className={classes.title}>What happened</span>} closeButtonProps={{ 'aria-label': 'Close' }}>
      {row ? (
        <Detail row={row} cluster={row.cluster} />
      ) : (
        <Note tone="unknown" title="This entry is not among the rows loaded">
          <p>Close this, choose “Show older”, and open it from the list.</p>
        </Note>
      )}
    </Drawer>
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
            {row.who}
            {row.role ? `, role ${row.role}` : ''}
          </dd>
        </div>
        <div>
          <dt>From</dt>
          <dd>
            {sourceWord[row.source] ?? row.source}
            {row.ip ? `, ${row.ip}` : ''}
          </dd>
        </div>
        <div>
          <dt>Write stall</dt>
          <dd className="num">{stallWords(row)}</dd>
        </div>
        {row.hash && (
          <div>
            <dt>Chain hash</dt>
            <dd className="mono">{row.hash}</dd>
          </div>
        )}
      </dl>
      {row.operationId !== null && cluster !== '' && (
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
      <Command value={cli.verifyAudit(cluster)} prompt label="Copy the command that checks the chain" />
    </div>
  );
}
