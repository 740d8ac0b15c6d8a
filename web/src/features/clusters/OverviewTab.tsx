import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { Command } from '../../components/Copy';
import { Note } from '../../components/Faces';
import { AuditLine } from '../audit/AuditLine';
import classes from './OverviewTab.module.css';
import { useCluster } from './queries';
import { Topology } from './Topology';

const route = getRouteApi('/shell/clusters/$id');
const shownActivities = 10;

export function OverviewTab() {
  const { id } = route.useParams();
  const navigate = useNavigate();
  const { data: c } = useCluster(id);
  if (!c) return null;
  const activity = c.activity.slice(0, shownActivities);
  return (
    <div className={classes.grid}>
      <section className={`card ${classes.topology}`} aria-labelledby="topology">
        <h2 id="topology" className="section-title">
          Who leads, who follows
        </h2>
        {c.nodes.length === 0 ? (
          <Note tone="unknown" title="No node has reported yet">
            <p>They appear as soon as their agents connect.</p>
          </Note>
        ) : (
          <Topology cluster={c} onNode={(node) => void navigate({ to: '.', search: (old) => ({ ...old, node }), resetScroll: false })} />
        )}
      </section>
      <div className={classes.aside}>
      <section className={`card ${classes.connect}`} aria-labelledby="connect">
        <h2 id="connect" className="section-title">
          Connect
        </h2>
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
      </section>
      <section className={`card ${classes.activity}`} aria-labelledby="activity">
        <div className={classes.line}>
          <h2 id="activity" className="section-title">
            Last activity
          </h2>
          <Link to="/clusters/$id/audit" params={{ id }}>
            Whole audit
          </Link>
        </div>
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
      </section>
      </div>
    </div>
  );
}
