import { IconLoader2 } from '@tabler/icons-react';
import type { AuditRow } from '../../api/types';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { milliseconds, sentenceCase } from '../../lib/format';
import classes from './AuditLine.module.css';
import { outcomeTone, outcomeWord } from './outcome';

export function OutcomeBadge({ row }: { row: AuditRow }) {
  return (
    <StatusBadge tone={outcomeTone[row.outcome] ?? 'unknown'} icon={row.outcome === 'running' ? <IconLoader2 size={15} aria-hidden className={classes.spin} /> : undefined}>
      {outcomeWord[row.outcome] ?? row.outcome}
    </StatusBadge>
  );
}

/** One thing that happened, as a sentence, short enough for a side column. */
export function AuditLine({ row, onOpen }: { row: AuditRow; onOpen: () => void }) {
  return (
    <button type="button" className={classes.line} onClick={onOpen}>
      <span className={classes.what}>
        <strong>{row.who}</strong> {row.what}
      </span>
      <span className={classes.how}>
        <OutcomeBadge row={row} />
        {row.stallMs !== null && <span className="num">writes stalled {milliseconds(row.stallMs)}</span>}
        <span className={classes.when}>
          <Age at={row.at} sentence event />
        </span>
      </span>
      {row.outcome !== 'done' && row.detail && <span className={classes.detail}>{sentenceCase(row.detail)}</span>}
    </button>
  );
}
