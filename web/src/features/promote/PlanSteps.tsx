import { IconFlag3Filled } from '@tabler/icons-react';
import { Fragment } from 'react';
import type { PlanStep } from '../../api/types';
import classes from './PlanSteps.module.css';

/** What will run, in order, with the point of no return between the steps it separates. */
export function PlanSteps({ steps }: { steps: readonly PlanStep[] }) {
  return (
    <ol className={classes.steps}>
      {steps.map((s, i) => (
        <Fragment key={s.id}>
          {s.pointOfNoReturn && (
            <li className={classes.ponr}>
              <IconFlag3Filled size={14} aria-hidden />
              <span>
                <strong>Point of no return.</strong> Above it a failure rolls back; from here on a failure is completed forward.
              </span>
            </li>
          )}
          <li className={classes.step}>
            <span className={classes.no} aria-hidden="true">
              {i + 1}
            </span>
            <div className={classes.text}>
              <span className={classes.title}>
                {s.title}
                {s.node && !s.title.includes(s.node) && <span className={classes.node}>{s.node}</span>}
              </span>
              {s.command && <code className={classes.command}>{s.command}</code>}
              {s.undo && <span className={classes.undo}>If it fails: {s.undo}</span>}
            </div>
          </li>
        </Fragment>
      ))}
    </ol>
  );
}
