import type { ReactNode } from 'react';
import { Logo } from '../../components/Logo';
import classes from './Door.module.css';

const lanes = Array.from({ length: 9 }, (_, i) => i);

/** The frame of the pages one sees before being signed in: a form, and the lanes of a track. */
export function Door({ title, lead, children }: { title: string; lead: string; children: ReactNode }) {
  return (
    <div className={classes.door}>
      <main className={classes.form}>
        <div className={classes.inner}>
          <Logo size={30} />
          <div>
            <h1 className={classes.title}>{title}</h1>
            <p className="quiet">{lead}</p>
          </div>
          {children}
        </div>
      </main>
      <aside className={classes.track} aria-hidden="true">
        <svg viewBox="0 0 720 900" preserveAspectRatio="xMidYMid slice">
          <g fill="none" stroke="#fff" strokeWidth="1.5" opacity="0.34">
            {lanes.map((i) => (
              <path key={i} d={`M ${120 + i * 62} 960 L ${120 + i * 62} 560 A ${520 - i * 62} ${520 - i * 62} 0 0 1 640 ${40 + i * 62} L 760 ${40 + i * 62}`} />
            ))}
          </g>
          <g>
            <g transform="translate(297 435) rotate(-70)">
              <rect x="-62" y="-16" width="124" height="32" rx="16" fill="#fff" />
              <rect x="-30" y="-16" width="10" height="32" fill="var(--door)" />
              <rect x="20" y="-16" width="10" height="32" fill="var(--door)" />
            </g>
          </g>
        </svg>
        <p className={classes.say}>Roles and promotion for replicated data.</p>
      </aside>
    </div>
  );
}
