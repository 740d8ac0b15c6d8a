import { Button, Drawer } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { has } from '../../api/capabilities';
import { troubleFrom } from '../../api/errors';
import type { ClusterDetail, ClusterNode } from '../../api/types';
import { Age, Dated } from '../../components/Age';
import { isLead, RoleBadge, StatusBadge } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { ErrorFace, Loading, Note } from '../../components/Faces';
import { Stale, useTrouble } from '../../components/QueryFaces';
import { useReturnFocus } from '../../components/returnFocus';
import { bytes, group, lagSeconds, sentenceCase, unknown } from '../../lib/format';
import { nodeTone } from '../../lib/severity';
import { cli } from '../../lib/cli';
import { useReport } from '../report/queries';
import { bareReason } from '../report/report';
import { ReportList } from '../report/ReportList';
import { may, mayPromote, useSession } from '../session/session';
import classes from './NodeDrawer.module.css';

interface DrawerProps {
  cluster: ClusterDetail;
  name: string;
  onClose: () => void;
  onPromote: (node: string) => void;
}

/** One node in depth: can it be promoted and why, then every fact with its age. */
export function NodeDrawer({ cluster, name, onClose, onPromote }: DrawerProps) {
  const node = cluster.nodes.find((n) => n.name === name);
  useReturnFocus();
  return (
    <Drawer opened onClose={onClose} position="right" size={640} padding={24} title={<span className={classes.title}>{name}</span>} closeButtonProps={{ 'aria-label': 'Close' }}>
      {node ? (
        <Body cluster={cluster} node={node} onPromote={onPromote} />
      ) : (
        <Note tone="unknown" title={`${name} is not a node of ${cluster.name}`}>
          <p>It may have been removed, or the link is mistyped.</p>
        </Note>
      )}
    </Drawer>
  );
}

function Body({ cluster, node: n, onPromote }: { cluster: ClusterDetail; node: ClusterNode; onPromote: (node: string) => void }) {
  const session = useSession();
  const report = useReport(cluster.id, n.name);
  const trouble = useTrouble(report);
  const lead = isLead(n.role);
  const facts: [string, React.ReactNode][] = [
    ['Lag', n.lagBytes === null ? (lead ? 'leads' : unknown) : `${bytes(n.lagBytes)}${n.lagSeconds !== null ? `, ${lagSeconds(n.lagSeconds)}` : ''}`],
    ['Position', group(n.position)],
    [cluster.engine === 'eventstore' ? 'Term' : 'Generation', group(n.term)],
    ['Priority', n.priority],
    ['Address', <code key="a">{n.address || unknown}</code>],
    ['Engine version', n.engineVersion || unknown],
    ['Hardware', n.hardware ? `${n.hardware.cores} cores, ${bytes(n.hardware.memoryBytes)}${n.hardware.model ? `, ${n.hardware.model}` : ''}` : unknown],
    ['Disk', n.hardware ? `${bytes(n.hardware.diskFreeBytes)} free of ${bytes(n.hardware.diskTotalBytes)}` : unknown],
    ['Provider', n.provider || unknown],
    ['Location', n.location || unknown],
    ['Agent', n.agent || unknown],
    ['Process', n.pid ?? unknown],
  ];
  return (
    <div className={classes.body}>
      <div className={classes.state}>
        <Dated at={n.lastUpdate} className={classes.badges}>
          <RoleBadge role={n.role} shouldBe={n.shouldBe} />
          <StatusBadge tone={nodeTone[n.status.level] ?? 'unknown'}>{sentenceCase(n.status.level)}</StatusBadge>
        </Dated>
        <span className="faint">
          seen <Age at={n.lastUpdate} by={n.observedBy} sentence /> by {n.observedBy || 'nobody'}
        </span>
      </div>
      {n.status.sentence && <p className="quiet">{n.status.sentence}</p>}
      <section>
        <div className={classes.line}>
          <h2 className="section-title">Can it be promoted?</h2>
          {report.data && (
            <span className="faint">
              checked <Age at={report.data.at} sentence />
            </span>
          )}
        </div>
        {trouble ? (
          <ErrorFace trouble={trouble} retrying={report.isFetching} onRetry={() => void report.refetch()} />
        ) : report.data === undefined ? (
          <Loading rows={5} height={36} label="Checking" />
        ) : (
          <>
            {report.isError && <Stale since={report.dataUpdatedAt} why={troubleFrom(report.error).title} />}
            <Note tone={report.data.promotable ? 'ok' : lead ? 'unknown' : 'warn'} title={report.data.promotable ? 'Yes' : 'No'}>
              <p>{sentenceCase(bareReason(report.data.reason) || 'it passes every check')}</p>
            </Note>
            <div className="card">
              <ReportList checks={report.data.checks} />
            </div>
          </>
        )}
        <div className={classes.buttons}>
          {!lead && mayPromote(session.data?.role) && <Button onClick={() => onPromote(n.name)}>Promote {n.name}</Button>}
          {has('POST /terminal/tickets') && may.operate(session.data?.role) && (
            <Button component={Link} variant="default" {...({ to: '/clusters/$id/terminal', params: { id: cluster.id }, search: { on: n.name } } as object)}>
              Open a terminal on {n.name}
            </Button>
          )}
        </div>
        <Command value={cli.explain(cluster.id, n.name)} prompt label="Copy the command that prints this report" />
      </section>
      <section>
        <h2 className="section-title">Facts</h2>
        <Dated at={n.lastUpdate}>
          <dl className={classes.facts}>
            {facts.map(([k, v]) => (
              <div key={k}>
                <dt>{k}</dt>
                <dd className="num">{v}</dd>
              </div>
            ))}
          </dl>
        </Dated>
      </section>
    </div>
  );
}
