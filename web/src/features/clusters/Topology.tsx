import { useElementSize } from '@mantine/hooks';
import { IconPlugConnectedX } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { ClusterDetail, Link as Replication } from '../../api/types';
import { Age, Dated } from '../../components/Age';
import { RoleIcon, ToneIcon } from '../../components/Badges';
import { useStale } from '../../lib/clock';
import { bytes, count, lagSeconds, rate, sentenceCase, toNumber } from '../../lib/format';
import { nodeTone } from '../../lib/severity';
import { cardHeight, leadHeight, place, type Edge, type Placed } from './layout';
import classes from './Topology.module.css';

/** The lag of a link in words: "in step", "12 KiB, 40 ms behind", "link down". */
function lagWords(link: Pick<Replication, 'up' | 'lagBytes' | 'lagSeconds'>): string {
  if (!link.up) return 'link down';
  const b = toNumber(link.lagBytes);
  const s = toNumber(link.lagSeconds);
  if (b === null && s === null) return 'lag unknown';
  if ((b ?? 0) === 0 && (s ?? 0) < 0.001) return 'in step';
  return [b !== null ? bytes(b) : null, s !== null && s >= 0.001 ? lagSeconds(s) : null].filter(Boolean).join(' · ');
}

/** The live picture: who leads, who follows, who stands apart, and how far each is behind. */
export function Topology({ cluster, onNode }: { cluster: ClusterDetail; onNode: (name: string) => void }) {
  const { ref, width } = useElementSize();
  const layout = useMemo(() => place(cluster.nodes, cluster.links, width), [cluster.nodes, cluster.links, width]);
  const old = useStale(cluster.observedAt);
  const into = new Map(cluster.links.map((l) => [l.to, l]));
  return (
    <figure className={classes.figure} aria-label={`Replication of ${cluster.name}`}>
      <div ref={ref} className={classes.stage} style={{ height: width === 0 ? 300 : layout.height }}>
        {width > 0 && (
          <>
            {layout.zones.map((z) => (
              <div key={z.lane} className={classes.zone} data-lane={z.lane} data-narrow={layout.narrow || undefined} style={{ left: z.x, top: z.y, width: z.width, height: z.height }}>
                <span>{zoneTitle(cluster.engine, z.lane)}</span>
                {z.more > 0 && (
                  <Link to="/clusters/$id/nodes" params={{ id: cluster.id }} className={classes.more}>
                    {count(z.more, 'more node')}: see all
                  </Link>
                )}
              </div>
            ))}
            <svg className={classes.lines} width={layout.width} height={layout.height} aria-hidden="true">
              {layout.edges.map((e) => (
                <Line key={`${e.link.from}>${e.link.to}`} edge={e} flowing={!old && e.link.up && (cluster.writesPerSecond ?? 0) > 0} />
              ))}
            </svg>
            {!layout.narrow &&
              layout.edges.map((e) => (
                <span key={`${e.link.from}>${e.link.to}`} className={classes.lag} data-up={e.link.up} style={{ left: e.mid.x, top: e.mid.y }}>
                  {!e.link.up && <IconPlugConnectedX size={13} aria-hidden />}
                  <Dated at={cluster.observedAt} className="num">
                    {lagWords(e.link)}
                  </Dated>
                </span>
              ))}
            {layout.cards.map((c) => (
              <Card key={c.node.name} placed={c} width={layout.cardWidth + (layout.narrow && c.lane === 'lead' ? 34 + 2 * 16 : 0)} link={into.get(c.node.name)} writes={cluster.writesPerSecond} narrow={layout.narrow} onOpen={() => onNode(c.node.name)} />
            ))}
          </>
        )}
      </div>
    </figure>
  );
}

function zoneTitle(engine: string, lane: 'sync' | 'async'): string {
  if (lane === 'async') return 'Clones: they copy, they do not vote';
  return engine === 'eventstore' ? 'Followers: they vote' : 'Replicas: they can take over';
}

function Line({ edge, flowing }: { edge: Edge; flowing: boolean }) {
  return (
    <g data-kind={edge.link.kind} data-up={edge.link.up} className={classes.edge}>
      <path d={edge.d} />
      {flowing && <path d={edge.d} className={classes.flow} />}
    </g>
  );
}

function Card({ placed, width, link, writes, narrow, onOpen }: { placed: Placed; width: number; link: Replication | undefined; writes: number | null; narrow: boolean; onOpen: () => void }) {
  const { node, lane } = placed;
  const tone = nodeTone[node.status.level] ?? 'unknown';
  const stale = useStale(node.lastUpdate);
  return (
    <button
      type="button"
      className={classes.card}
      data-lane={lane}
      data-testid={`topology-${node.name}`}
      data-role={node.role}
      data-stale-card={stale || undefined}
      style={{ transform: `translate(${placed.x}px, ${placed.y}px)`, width, height: lane === 'lead' ? leadHeight : cardHeight }}
      onClick={onOpen}
    >
      <span className={classes.body}>
        <span className={classes.top}>
          <span className={classes.icon}>
            <RoleIcon role={node.role} size={lane === 'lead' ? 20 : 17} />
          </span>
          <span className={classes.name}>{node.name}</span>
          {narrow && link && lane !== 'lead' && <span className={classes.rate}>{lagWords(link)}</span>}
        </span>
        {lane === 'lead' && (
          <span className={classes.big}>
            {rate(writes)} <span>writes per second</span>
          </span>
        )}
        <span className={classes.bottom}>
          <span>
            {sentenceCase(node.role)}
            {node.location ? ` · ${node.location}` : ''}
          </span>
          <span className={classes.state} data-tone={tone}>
            {(lane !== 'lead' || tone !== 'ok') && <ToneIcon tone={stale ? 'unknown' : tone} size={14} />}
            {node.status.level} · <Age at={node.lastUpdate} by={node.observedBy} />
          </span>
        </span>
      </span>
    </button>
  );
}
