import { Button, Skeleton } from '@mantine/core';
import { IconRefresh } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { Trouble } from '../api/errors';
import { ToneIcon } from './Badges';
import classes from './Faces.module.css';

/** Loading: the outline of what will come. */
export function Loading({ rows = 4, height = 52, label }: { rows?: number; height?: number; label: string }) {
  return (
    <div className={classes.loading} role="status" aria-label={label}>
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} height={height} radius="md" />
      ))}
    </div>
  );
}

/** Empty: says so, and what to do next. */
export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className={`card ${classes.empty}`}>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

/** Error: what happened, why, what to do. */
export function ErrorFace({ trouble, onRetry }: { trouble: Trouble; onRetry?: () => void }) {
  return (
    <div className={`card ${classes.error}`} role="alert">
      <ToneIcon tone="bad" size={22} />
      <div>
        <h2>{trouble.title}</h2>
        {trouble.detail && <p className="quiet">{trouble.detail}</p>}
        {trouble.fix && <p>{trouble.fix}</p>}
        {onRetry && (
          <Button variant="default" size="xs" mt={12} leftSection={<IconRefresh size={14} />} onClick={onRetry}>
            Try again
          </Button>
        )}
      </div>
    </div>
  );
}

/** A note in the flow of a page: what, why, what to do. */
export function Note({ tone, title, children }: { tone: 'ok' | 'warn' | 'bad' | 'unknown'; title: ReactNode; children?: ReactNode }) {
  return (
    <div className={classes.note} data-tone={tone} role={tone === 'bad' ? 'alert' : 'status'}>
      <ToneIcon tone={tone} size={18} />
      <div>
        <strong>{title}</strong>
        {children}
      </div>
    </div>
  );
}
