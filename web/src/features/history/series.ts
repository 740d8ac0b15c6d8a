import type { HistorySeries } from '../../api/types';
import { bytes, milliseconds, rate } from '../../lib/format';

/** [milliseconds since 1970, value]. */
export type Point = readonly [number, number | null];

/** The points of a line as the server sends them. */
export function pointsOf(s: HistorySeries): Point[] {
  return (s.points ?? []).map((p): Point => [p[0] ?? 0, p[1] ?? null]);
}

/** Reads a value of a metric's unit to people. */
export function inUnit(unit: string, v: number): string {
  switch (unit) {
    case 'bytes':
      return bytes(Math.max(0, v));
    case 'ms':
      return milliseconds(v);
    case 's':
      return milliseconds(v * 1000);
    default:
      return `${rate(v)}${unit && unit !== 'per second' ? ` ${unit}` : ''}`;
  }
}

/** The top of the scale: the next 1, 2 or 5 times a power of the unit's base at or above the highest value. */
export function niceTop(highest: number, unit: string): number {
  if (highest <= 0) return unit === 'bytes' ? 1024 : 1;
  const base = unit === 'bytes' ? 1024 : 10;
  const power = base ** Math.floor(Math.log(highest) / Math.log(base));
  const steps = unit === 'bytes' ? [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] : [1, 2, 5, 10];
  return (steps.find((s) => s * power >= highest) ?? base) * power;
}

/** Most points drawn of one line; more cannot be told apart at the width of a card. */
export const maxPoints = 240;

/** thin keeps at most maxPoints of a line, the highest of each group, so that no peak is lost. */
export function thin(points: readonly Point[]): Point[] {
  if (points.length <= maxPoints) return [...points];
  const size = Math.ceil(points.length / maxPoints);
  const out: Point[] = [];
  for (let i = 0; i < points.length; i += size) {
    let best = points[i]!;
    for (let j = i + 1; j < Math.min(points.length, i + size); j++) if ((points[j]![1] ?? -Infinity) > (best[1] ?? -Infinity)) best = points[j]!;
    out.push(best);
  }
  return out;
}

/** Lines in pieces: a gap longer than three steps, or a missing value, ends a piece, so that nothing is drawn where nothing was measured. */
export function pieces(points: readonly Point[], stepMs: number): [number, number][][] {
  const out: [number, number][][] = [];
  let piece: [number, number][] = [];
  for (const [t, v] of points) {
    const last = piece[piece.length - 1];
    if (v === null || (last && t - last[0] > 3 * stepMs)) {
      if (piece.length > 0) out.push(piece);
      piece = [];
    }
    if (v !== null) piece.push([t, v]);
  }
  if (piece.length > 0) out.push(piece);
  return out;
}

/** The value of each line nearest to an instant, at most half a group of steps away. */
export function valuesAt(series: readonly { node: string; points: readonly Point[] }[], t: number, withinMs: number): { node: string; value: number | null }[] {
  return series.map((s) => {
    let best: Point | null = null;
    for (const p of s.points) if (Math.abs(p[0] - t) <= withinMs && (best === null || Math.abs(p[0] - t) < Math.abs(best[0] - t))) best = p;
    return { node: s.node, value: best?.[1] ?? null };
  });
}
