import { useEffect, useState } from 'react';
import { isOver } from '../../api/merge';
import type { Operation } from '../../api/types';
import { serverNow } from '../../lib/clock';
import { milliseconds } from '../../lib/format';
import { stallClock } from './operation';
import classes from './OperationPanel.module.css';

/** How long writes have been held back, counting while they are. */
export function StallCounter({ op }: { op: Operation }) {
  const [now, setNow] = useState(serverNow);
  const clock = stallClock(op, now);
  const counting = clock.phase === 'running';
  useEffect(() => {
    if (!counting) return;
    let frame = requestAnimationFrame(function tick() {
      setNow(serverNow());
      frame = requestAnimationFrame(tick);
    });
    return () => cancelAnimationFrame(frame);
  }, [counting]);
  const label =
    clock.phase === 'before' ? 'Writes flow' : clock.phase === 'running' ? 'Writes are held back' : clock.measured ? 'Longest write stall, measured' : 'Writes were held back';
  return (
    <div className={classes.stat} data-phase={clock.phase}>
      <span className={classes.statLabel}>{label}</span>
      <span className={`num ${classes.statValue}`} data-testid="stall">
        {clock.phase === 'before' ? '0 ms' : milliseconds(clock.ms)}
      </span>
      <span className={classes.statNote}>
        {clock.phase === 'before' ? 'stall so far' : clock.measured ? 'by a probe that writes every 10 ms' : clock.phase === 'running' ? 'and counting' : isOver(op.state) ? 'by the steps’ times: no probe wrote meanwhile' : 'by the steps’ times; the probe’s figure follows'}
      </span>
    </div>
  );
}
