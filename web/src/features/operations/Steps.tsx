import { IconArrowBackUp, IconArrowNarrowRight, IconCheck, IconCircleDashed, IconFlag3Filled, IconLoader2, IconMinus, IconX } from '@tabler/icons-react';
import { Fragment } from 'react';
import type { OperationStep, StepState } from '../../api/types';
import { useNow } from '../../lib/clock';
import { milliseconds } from '../../lib/format';
import type { Tone } from '../../lib/severity';
import { stepMs } from './operation';
import classes from './Steps.module.css';

const tones: Record<StepState, Tone | 'baton'> = { pending: 'unknown', running: 'baton', done: 'ok', failed: 'bad', undone: 'warn', skipped: 'unknown' };
const words: Record<StepState, string> = { pending: 'waits', running: 'runs', done: 'done', failed: 'failed', undone: 'undone', skipped: 'skipped' };

function StepIcon({ state }: { state: StepState }) {
  const props = { size: 16, 'aria-hidden': true, stroke: 2.4 } as const;
  switch (state) {
    case 'done':
      return <IconCheck {...props} />;
    case 'running':
      return <IconLoader2 {...props} className={classes.spin} />;
    case 'failed':
      return <IconX {...props} />;
    case 'undone':
      return <IconArrowBackUp {...props} />;
    case 'skipped':
      return <IconMinus {...props} />;
    default:
      return <IconCircleDashed {...props} />;
  }
}

/** The line that every promotion has exactly once. */
export function NoReturn({ reached }: { reached?: boolean }) {
  return (
    <li className={classes.ponr} data-reached={reached || undefined}>
      <IconFlag3Filled size={14} aria-hidden />
      <span>
        <strong>Point of no return{reached ? ', passed' : ''}.</strong> Above it a failure rolls back; from here on a failure is completed forward.
      </span>
    </li>
  );
}

/** What is done, what runs, what waits. */
export function Steps({ steps, past }: { steps: readonly OperationStep[]; past: boolean }) {
  const now = useNow();
  return (
    <ol className={classes.steps}>
      {steps.map((s) => (
        <Fragment key={s.id}>
          {s.pointOfNoReturn && <NoReturn reached={past} />}
          <li className={classes.step} data-state={s.state} data-tone={tones[s.state] ?? 'unknown'}>
            <span className={classes.mark}>
              <StepIcon state={s.state} />
            </span>
            <div className={classes.body}>
              <span className={classes.title}>
                {s.title}
                {s.node && !s.title.includes(s.node) && <span className={classes.node}>{s.node}</span>}
              </span>
              <span className={classes.detail}>
                {s.command && <code className={classes.command}>{s.command}</code>}
                {s.command && s.detail && <IconArrowNarrowRight size={14} aria-label="gave" className={classes.gave} />}
                {s.detail}
              </span>
            </div>
            <span className={`num ${classes.time}`}>
              <span className="visually-hidden">{words[s.state]}, </span>
              {s.state === 'pending' ? '' : s.state === 'done' || s.state === 'running' ? milliseconds(stepMs(s, now)) : words[s.state]}
            </span>
          </li>
        </Fragment>
      ))}
    </ol>
  );
}
