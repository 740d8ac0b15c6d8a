import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import { has } from '../../api/capabilities';
import { Command } from '../../components/Copy';
import { Loading, Note } from '../../components/Faces';
import { Panel } from '../../components/Page';
import { AuditLine } from '../audit/AuditLine';
import { EndpointLine } from '../endpoint/EndpointLine';
import { FailoverPanel } from '../failover/FailoverPanel';
import { LostWritesNote } from '../failover/LostWritesNote';
import { WhatIfPanel } from '../failover/WhatIfPanel';
import { AtAGlance } from './AtAGlance';
import classes from './OverviewTab.module.css';
import { useCluster } from './queries';
import { Topology } from './Topology';

const HistoryPanel = lazy(() => import('../history/HistoryPanel').then((m) => ({ default: m.HistoryPanel })));

const route = getRouteApi('/shell/clusters/$id');
const shownActivities = 10;

export function OverviewTab() {
  const { id } = route.useParams();
  const navigate = useNavigate();
  const { data: c } = useCluster(id);
  if (!c) return null;
  const activity = c.activity.slice(0, shownActivities);
  return (
    <div className={classes.page}>
      <LostWritesNote cluster={c} />
      <div className={classes.grid}>
        <div className={classes.column}>
          <Panel title="Who leads, who follows">
            {c.nodes.length === 0 ? (
              <Note tone="unknown" title="No node has reported yet">
                <p>They appear as soon as their agents connect.</p>
              </Note>
            ) : (
              <Topology cluster={c} onNode={(node) => void navigate({ to: '.', search: (old) => ({ ...old, node }), resetScroll: false })} />
            )}
          </Panel>
          {has('GET /clusters/{id}/history') && (
            <Suspense fallback={<Loading rows={1} height={300} label="Loading the history" />}>
              <HistoryPanel cluster={c.id} />
            </Suspense>
          )}
          <WhatIfPanel cluster={c} />
        </div>
        <div className={classes.column}>
          <Panel title="Connect">
            {c.connections.length === 0 ? (
              <p className="quiet">No endpoint is known yet.</p>
            ) : (
              c.connections.map((x) => (
                <div key={x.label} className={classes.connection}>
                  <span className={classes.label}>{x.label}</span>
                  <Command value={x.value} label={`Copy ${x.label}`} />
                  {x.help && <p className="faint">{x.help}</p>}
                </div>
              ))
            )}
            <EndpointLine cluster={c.id} />
          </Panel>
          <FailoverPanel cluster={c} />
          <AtAGlance cluster={c} />
          <Panel
            title="Last activity"
            className={classes.activity}
            aside={
              <Link to="/clusters/$id/audit" params={{ id }}>
                Whole audit
              </Link>
            }
          >
            {activity.length === 0 ? (
              <p className="quiet">Nothing was done to this cluster yet. Promotions and refusals appear here, with who asked for them.</p>
            ) : (
              <ul>
                {activity.map((row) => (
                  <li key={row.id}>
                    <AuditLine row={row} onOpen={() => void navigate({ to: '/clusters/$id/audit', params: { id }, search: { row: row.id } })} />
                  </li>
                ))}
              </ul>
            )}
          </Panel>
        </div>
      </div>
    </div>
  );
}
