import { rate } from '../lib/format';

interface SparklineProps {
  values: readonly number[] | null | undefined;
  width?: number;
  height?: number;
  /** What the numbers are, for people who do not see the drawing. */
  label: string;
}

/** The last minute as a line. Its scale starts at zero, so that half as high is half as much. */
export function Sparkline({ values, width = 110, height = 28, label }: SparklineProps) {
  const points = (values ?? []).slice(-60);
  if (points.length < 2) return <span className="faint" aria-label={`${label}: no history yet`} style={{ display: 'inline-block', width, height }} />;
  const top = Math.max(1, ...points);
  const pad = 2;
  const x = (i: number) => pad + (i * (width - 2 * pad)) / (points.length - 1);
  const y = (v: number) => height - pad - (v / top) * (height - 2 * pad);
  const line = points.map((v, i) => `${i === 0 ? 'M' : 'L'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join('');
  const last = points[points.length - 1]!;
  return (
    <svg
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={`${label}: now ${rate(last)}, highest ${rate(top)}, lowest ${rate(Math.min(...points))}`}
      style={{ display: 'block', overflow: 'visible' }}
    >
      <path d={`${line}L${x(points.length - 1)} ${height - pad}L${x(0)} ${height - pad}Z`} fill="var(--baton)" opacity="0.09" />
      <path d={line} fill="none" stroke="var(--baton-text)" strokeWidth="1.5" strokeLinejoin="round" strokeLinecap="round" />
      <circle cx={x(points.length - 1)} cy={y(last)} r="2" fill="var(--baton-text)" />
    </svg>
  );
}
