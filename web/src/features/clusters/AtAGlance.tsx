import { Link } from '@tanstack/react-router';
import type { ClusterDetail } from '../../api/types';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { Facts, Panel } from '../../components/Page';
import { count } from '../../lib/format';
import { firing } from '../alerts/alerts';
import { useAlerts } from '../alerts/queries';
import { useBackups } from '../backups/queries';

/** Durability, newest backup, alerts: the questions asked after "is it up?". */
export function AtAGlance({ cluster: c }: { cluster: ClusterDetail }) {
  const alerts = useAlerts();
  const backups = useBackups();
  const on = firing((alerts.data?.alerts ?? []).filter((a) => a.cluster === c.id || a.cluster === c.name));
  const own = (backups.data?.clusters ?? []).find((b) => b.cluster === c.id || b.cluster === c.name);
  const facts: [string, React.ReactNode][] = [];
  if (c.durability) facts.push(['Durability', c.durability]);
  if (backups.data) {
    facts.push([
      'Newest backup',
      <Link key="b" to="/clusters/$id/backups" params={{ id: c.id }}>
        {own?.newest ? <Age at={own.newest} sentence event /> : 'none yet'}
      </Link>,
    ]);
    if (own?.newest) facts.push(['Newest verified', own.verified ? <Age key="v" at={own.verified} sentence event /> : 'none was verified']);
  }
  if (alerts.data) {
    facts.push([
      'Alerts',
      <Link key="a" to="/alerts" style={{ textDecoration: 'none' }}>
        <StatusBadge tone={on.count === 0 ? 'ok' : on.critical ? 'bad' : 'warn'}>{on.count === 0 ? 'None fires' : count(on.count, 'alert')}</StatusBadge>
      </Link>,
    ]);
  }
  if (facts.length === 0) return null;
  return (
    <Panel title="At a glance">
      <Facts single facts={facts} />
    </Panel>
  );
}
