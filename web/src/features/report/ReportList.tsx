import { IconRefresh } from '@tabler/icons-react';
import type { Check } from '../../api/types';
import { ToneIcon } from '../../components/Badges';
import { checkTone, checkWord } from '../../lib/severity';
import { redFirst } from './report';
import classes from './ReportList.module.css';

function value(measured: string, unit: string): string {
  if (measured === '') return '';
  return unit && !measured.endsWith(unit) ? `${measured} ${unit}` : measured;
}

/** All checks with measured value, threshold, reason and repair; what refuses stands first. */
export function ReportList({ checks, changed }: { checks: readonly Check[] | null; changed?: ReadonlySet<string> }) {
  const list = redFirst(checks);
  if (list.length === 0) return <p className="quiet">No check was made yet.</p>;
  return (
    <ul className={classes.list}>
      {list.map((c) => {
        const tone = checkTone[c.verdict] ?? 'unknown';
        const thresholds = [
          c.warnAt && `warns at ${value(c.warnAt, c.unit)}`,
          c.refuseAt && `refuses at ${value(c.refuseAt, c.unit)}`,
        ].filter(Boolean);
        return (
          <li key={c.id} className={classes.check} data-tone={tone} data-quiet={c.verdict === 'pass' || undefined}>
            <ToneIcon tone={tone} size={17} />
            <div className={classes.text}>
              <span className={classes.subject}>
                {c.subject}
                {c.verdict !== 'pass' && <span className={classes.word}>{checkWord[c.verdict] ?? c.verdict}</span>}
                {c.verdict === 'pass' && <span className="visually-hidden">: pass</span>}
                {changed?.has(c.id) && (
                  <span className={classes.changed}>
                    <IconRefresh size={12} aria-hidden /> changed
                  </span>
                )}
              </span>
              {c.verdict !== 'pass' && c.why && <span className={classes.why}>{c.why}</span>}
              {c.verdict !== 'pass' && c.fix && (
                <span className={classes.fix}>
                  <strong>Repair:</strong> {c.fix}
                </span>
              )}
            </div>
            <div className={classes.values}>
              <span className="num">{value(c.measured, c.unit) || (c.verdict === 'pass' ? 'yes' : '–')}</span>
              {thresholds.length > 0 && <span className={classes.thresholds}>{thresholds.join(', ')}</span>}
            </div>
          </li>
        );
      })}
    </ul>
  );
}
