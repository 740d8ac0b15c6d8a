import type { History } from '../../api/types';
import { useElementSize } from '@mantine/hooks';
import { memo, useMemo, useState } from 'react';
import { dateTime } from '../../lib/format';
import classes from './Chart.module.css';
import { inUnit, niceTop, pieces, pointsOf, thin, valuesAt } from './series';

const height = 132;
const pad = { left: 0, right: 2, top: 20, bottom: 20 };
/** Lines beyond these are told apart by the legend's words only. */
const strokes = ['var(--line-a)', 'var(--line-b)', 'var(--line-c)', 'var(--line-d)', 'var(--ink-3)'];
const dashes = ['', '6 3', '2 3', '9 3 2 3', '1 4'];

interface ChartProps {
  title: string;
  /** What the chart answers, for people who do not see it and as a note under the title. */
  note: string;
  history: History;
  from: number;
  to: number;
  /** Events rather than values over time: drawn as stems. */
  stems?: boolean;
}

/** Values over time, one line a node, told apart by color and dash. Drawn as SVG: it has the page's colors in both schemes and nothing to tear down. */
export const Chart = memo(function Chart({ title, note, history, from, to, stems = false }: ChartProps) {
  const { ref, width } = useElementSize();
  const [at, setAt] = useState<number | null>(null);
  const series = useMemo(() => (history.series ?? []).map((s) => ({ node: s.node, points: thin(pointsOf(s).filter((p) => p[0] >= from && p[0] <= to)) })), [history.series, from, to]);
  const values = series.flatMap((s) => s.points.flatMap((p) => (p[1] === null ? [] : [p[1]])));
  const highest = values.length > 0 ? Math.max(...values) : 0;
  const top = niceTop(highest, history.unit);
  const x = (t: number) => pad.left + ((t - from) / Math.max(1, to - from)) * (width - pad.left - pad.right);
  const y = (v: number) => height - pad.bottom - (Math.max(0, v) / top) * (height - pad.top - pad.bottom);
  // A thinned line has wider steps than the one measured.
  const step = Math.max(history.step * 1000, (to - from) / 240);
  const read = at === null ? null : valuesAt(series, at, stems ? (to - from) / 60 : step * 2);
  const last = values.length > 0 ? series.map((s) => s.points.findLast((p) => p[1] !== null)?.[1] ?? null) : [];
  const say = `${title}: ${values.length === 0 ? 'nothing was recorded in this time' : `${stems ? `${values.length} recorded` : `now ${series.map((s, i) => `${s.node} ${last[i] == null ? 'unknown' : inUnit(history.unit, last[i])}`).join(', ')}`}, highest ${inUnit(history.unit, highest)}`}`;
  return (
    <figure className={classes.figure}>
      <figcaption className={classes.caption}>
        <strong>{title}</strong>
        <span className="faint">{at === null ? note : dateTime(new Date(at).toISOString())}</span>
      </figcaption>
      <div
        ref={ref}
        className={classes.stage}
        style={{ height }}
        onPointerMove={(e) => {
          const box = e.currentTarget.getBoundingClientRect();
          setAt(from + ((e.clientX - box.left - pad.left) / Math.max(1, box.width - pad.left - pad.right)) * (to - from));
        }}
        onPointerLeave={() => setAt(null)}
      >
        {width > 0 && (
          <svg width={width} height={height} role="img" aria-label={say}>
            {[0, 0.5, 1].map((f) => (
              <line key={f} x1={0} x2={width} y1={y(top * f)} y2={y(top * f)} className={f === 0 ? classes.axis : classes.grid} />
            ))}
            {[0, 0.5, 1].map((f) => (
              <text key={f} x={f === 0 ? 0 : f === 1 ? width : width / 2} y={height - 5} textAnchor={f === 0 ? 'start' : f === 1 ? 'end' : 'middle'} className={classes.tick}>
                {f === 1 ? 'now' : clock(from + (to - from) * f, to - from)}
              </text>
            ))}
            {series.map((s, i) =>
              stems
                ? s.points.map((p) =>
                    p[1] === null ? null : (
                      <g key={p[0]} stroke={strokes[i % strokes.length]} fill={strokes[i % strokes.length]}>
                        <line x1={x(p[0])} x2={x(p[0])} y1={y(0)} y2={y(p[1])} strokeWidth={2} />
                        <circle cx={x(p[0])} cy={y(p[1])} r={3.5} />
                      </g>
                    ),
                  )
                : pieces(s.points, step).map((piece) => (
                    <path
                      key={piece[0]![0]}
                      d={piece.length === 1 ? `M${x(piece[0]![0]) - 1} ${y(piece[0]![1])}h2` : piece.map(([t, v], j) => `${j === 0 ? 'M' : 'L'}${x(t).toFixed(1)} ${y(v).toFixed(1)}`).join('')}
                      fill="none"
                      stroke={strokes[i % strokes.length]}
                      strokeDasharray={dashes[i % dashes.length]}
                      strokeWidth={1.6}
                      strokeLinejoin="round"
                    />
                  )),
            )}
            {[0.5, 1].map((f) => (
              <text key={f} x={0} y={y(top * f) - 4} className={classes.tick}>
                {inUnit(history.unit, top * f)}
              </text>
            ))}
            {at !== null && <line x1={x(at)} x2={x(at)} y1={pad.top - 6} y2={height - pad.bottom} className={classes.cursor} />}
          </svg>
        )}
        {values.length === 0 && <p className={classes.none}>Nothing was recorded in this time.</p>}
      </div>
      <ul className={classes.legend}>
        {series.map((s, i) => {
          const v = read ? read[i]?.value : last[i];
          return (
            <li key={s.node}>
              <svg width="18" height="8" aria-hidden="true">
                <line x1="0" x2="18" y1="4" y2="4" stroke={strokes[i % strokes.length]} strokeDasharray={stems ? '' : dashes[i % dashes.length]} strokeWidth="2" />
              </svg>
              {s.node} <span className="num">{v === null || v === undefined ? '–' : inUnit(history.unit, v)}</span>
            </li>
          );
        })}
      </ul>
    </figure>
  );
});

function clock(t: number, span: number): string {
  const full = dateTime(new Date(t).toISOString());
  return span > 26 * 3_600_000 ? full.slice(5, 16) : full.slice(11, 16);
}
