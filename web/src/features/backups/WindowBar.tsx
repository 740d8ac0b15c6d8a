import type { Backup } from '../../api/types';
import { useNow } from '../../lib/clock';
import { age, dateTime } from '../../lib/format';
import { gaps, restorable } from './window';
import classes from './WindowBar.module.css';

/** From when to when the cluster can be restored: a mark a backup, gaps hatched and said. */
export function WindowBar({ backups, schedule, earliest, latest }: { backups: readonly Backup[]; schedule: string; earliest: string | null; latest: string | null }) {
  // Marks move by the minute, not by the tick.
  const now = Math.floor(useNow() / 60_000) * 60_000;
  const usable = backups.filter(restorable);
  if (usable.length === 0 || !earliest || !latest) return null;
  const from = Math.min(Date.parse(earliest), ...usable.map((b) => Date.parse(b.at)));
  const at = (t: number) => `${Math.max(0, Math.min(100, ((t - from) / Math.max(1, now - from)) * 100))}%`;
  const holes = gaps(backups, schedule, now);
  return (
    <figure className={classes.figure} aria-label={`Restorable from ${dateTime(earliest)} to ${dateTime(latest)}`}>
      <div className={classes.bar} aria-hidden="true">
        <span className={classes.range} style={{ left: at(Date.parse(earliest)), right: `calc(100% - ${at(Date.parse(latest))})` }} />
        {holes.map((g) => (
          <span key={g.fromMs} className={classes.gap} style={{ left: at(g.fromMs), right: `calc(100% - ${at(g.toMs)})` }} />
        ))}
        {usable.map((b) => (
          <span key={b.id} className={classes.mark} data-verified={b.state === 'verified' || undefined} style={{ left: at(Date.parse(b.at)) }} />
        ))}
      </div>
      <figcaption className={classes.caption}>
        <span>
          <strong>{dateTime(earliest).slice(0, 16)}</strong> earliest
        </span>
        <span>
          newest <strong>{dateTime(latest).slice(0, 16)}</strong>
        </span>
      </figcaption>
      {holes.length > 0 && (
        <p className={classes.holes} data-tone="warn">
          {holes.map((g) => `No backup for ${age(g.toMs - g.fromMs)} before ${dateTime(new Date(g.toMs).toISOString()).slice(0, 16)}`).join('; ')}.
        </p>
      )}
    </figure>
  );
}
