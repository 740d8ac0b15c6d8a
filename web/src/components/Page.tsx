import { useId, type ReactNode } from 'react';
import classes from './Page.module.css';

/** The head of a page: what it is, one line about it, what can be done. */
export function PageHead({ title, lead, actions }: { title: string; lead?: ReactNode; actions?: ReactNode }) {
  return (
    <header className={classes.head}>
      <title>{`${title} · Baton`}</title>
      <div className={classes.what}>
        <h1>{title}</h1>
        {lead && <p className="quiet">{lead}</p>}
      </div>
      {actions && <div className={classes.actions}>{actions}</div>}
    </header>
  );
}

interface PanelProps {
  title: ReactNode;
  /** One sentence under the title. */
  lead?: ReactNode;
  /** What stands at the end of the title's line. */
  aside?: ReactNode;
  children: ReactNode;
  tone?: 'bad';
  className?: string;
}

/** A part of a page with a heading of its own. */
export function Panel({ title, lead, aside, children, tone, className }: PanelProps) {
  const id = useId();
  return (
    <section className={`card ${classes.panel} ${className ?? ''}`} aria-labelledby={id} data-danger={tone === 'bad' || undefined}>
      <div className={classes.line}>
        <h2 id={id} className="section-title">
          {title}
        </h2>
        {aside && <span className={classes.aside}>{aside}</span>}
      </div>
      {lead && <p className={`quiet ${classes.lead}`}>{lead}</p>}
      {children}
    </section>
  );
}

/** Names and values, two columns where there is room. */
export function Facts({ facts, single = false }: { facts: readonly (readonly [string, ReactNode])[]; single?: boolean }) {
  return (
    <dl className={classes.facts} data-single={single || undefined}>
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** The filter pills above a list. */
export function Pills<T extends string>({ label, options, value, onChange }: { label: string; options: readonly { value: T; label: string }[]; value: T; onChange: (value: T) => void }) {
  return (
    <div className={classes.pills} role="group" aria-label={label}>
      {options.map((o) => (
        <button key={o.value} type="button" className={classes.pill} aria-pressed={o.value === value} onClick={() => onChange(o.value)}>
          {o.label}
        </button>
      ))}
    </div>
  );
}
