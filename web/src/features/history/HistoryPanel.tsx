import { useState } from 'react';
import { path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { Availability, History } from '../../api/types';
import { Panel, Pills } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { serverNow } from '../../lib/clock';
import { sentenceCase } from '../../lib/format';
import { Chart } from './Chart';
import classes from './Chart.module.css';

const spans = { '1h': 3_600_000, '6h': 6 * 3_600_000, '24h': 24 * 3_600_000, '7d': 7 * 24 * 3_600_000 } as const;
type Span = keyof typeof spans;

/** Charts are asked for anew this often: a line moves by less than a pixel in between. */
const pollMs = 15_000;

type Metric = 'stall' | 'lag' | 'writes' | 'memory';

const metrics: { metric: Metric; title: string; note: string; stems?: boolean }[] = [
  { metric: 'stall', title: 'Write stall of each role change', note: 'one mark each', stems: true },
  { metric: 'lag', title: 'Lag behind the primary', note: 'each replica' },
  { metric: 'writes', title: 'Writes per second', note: 'each node' },
  { metric: 'memory', title: 'Memory in use', note: 'each node' },
];

/** What the cluster did over time. */
export function HistoryPanel({ cluster }: { cluster: string }) {
  const [span, setSpan] = useState<Span>('1h');
  return (
    <Panel title="History" lead={<AvailabilityLine cluster={cluster} />} aside={<Pills label="Time shown" value={span} onChange={setSpan} options={[{ value: '1h', label: '1 hour' }, { value: '6h', label: '6 hours' }, { value: '24h', label: '1 day' }, { value: '7d', label: '7 days' }]} />}>
      <div className={classes.charts}>
        {metrics.map((m) => (
          <Metrics key={m.metric} cluster={cluster} span={span} {...m} />
        ))}
      </div>
    </Panel>
  );
}

/** For how much of the last month writes were possible. */
function AvailabilityLine({ cluster }: { cluster: string }) {
  const { data } = useGet<Availability>(keys.availability(cluster), `${path('clusters', cluster, 'availability')}?days=30`, { route: '/clusters/{id}/availability', every: 60_000 });
  if (!data) return null;
  return <>{sentenceCase(data.sentence)}</>;
}

function Metrics({ cluster, span, metric, title, note, stems }: { cluster: string; span: Span; metric: Metric; title: string; note: string; stems?: boolean }) {
  // Steps are whole seconds, so that at most 360 points come.
  const step = Math.max(1, Math.round(spans[span] / 360_000));
  const from = new Date(Math.floor((serverNow() - spans[span]) / pollMs) * pollMs).toISOString();
  const history = useGet<History>(keys.history(cluster, metric, span), `${path('clusters', cluster, 'history')}?metric=${metric}&from=${encodeURIComponent(from)}&step=${step}`, { route: '/clusters/{id}/history', every: pollMs });
  return (
    <QueryFaces query={history} label={`Loading: ${title}`} rows={1} height={176}>
      {(h) => <Chart title={title} note={note} history={h} from={history.dataUpdatedAt - spans[span]} to={history.dataUpdatedAt} stems={stems} />}
    </QueryFaces>
  );
}
