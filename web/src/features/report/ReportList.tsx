import { IconRefresh } from '@tabler/icons-react';
import type { Check } from '../../api/types';
import { ToneIcon } from '../../components/Badges';
import { sentenceCase } from '../../lib/format';
import { checkTone, checkWord } from '../../lib/severity';
import { keyOf, redFirst } from './report';
import classes from './ReportList.module.css';

function value(measured: string, unit: string): string {
  if (measured === '') return '';
  // Thresholds may bring their own unit, or be words.
  return unit === '' || /[a-z%]$/i.test(measured) || !/^[\d<>=. ]+$/.test(measured) ? measured : `${measured} ${unit}`;
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
          c.warnAt && `warns: ${value(c.warnAt, c.unit)}`,
          c.refuseAt && `refuses: ${value(c.refuseAt, c.unit)}`,
        ].filter(Boolean);
        return (
          <li key={keyOf(c)} className={classes.check} data-tone={tone} data-quiet={c.verdict === 'pass' || undefined}>
            <ToneIcon tone={tone} size={17} />
            <div className={classes.text}>
              <span className={classes.title}>
                {sentenceCase(c.why || c.subject)}
                {c.verdict !== 'pass' && <span className={classes.word}>{checkWord[c.verdict] ?? c.verdict}</span>}
                {c.verdict === 'pass' && <span className="visually-hidden">: pass</span>}
                {changed?.has(keyOf(c)) && (
                  <span className={classes.changed}>
                    <IconRefresh size={12} aria-hidden /> changed
                  </span>
                )}
              </span>
              {c.verdict !== 'pass' && c.fix && (
                <span className={classes.fix}>
                  <strong>Repair:</strong> {sentenceCase(c.fix)}
                </span>
              )}
              <span className={classes.of}>
                {c.subject} · {c.id}
              </span>
            </div>
            <div className={classes.values}>
              <span>{value(c.measured, c.unit) || (c.verdict === 'pass' ? 'yes' : '–')}</span>
              {thresholds.length > 0 && <span className={classes.thresholds}>{thresholds.join(' · ')}</span>}
            </div>
          </li>
        );
      })}
    </ul>
  );
}
