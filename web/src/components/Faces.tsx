import { Button, Skeleton } from '@mantine/core';
import { IconLock, IconRefresh } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import type { Trouble } from '../api/errors';
import { ToneIcon } from './Badges';
import classes from './Faces.module.css';

/** Loading: the outline of what will come. */
export function Loading({ rows = 4, height = 52, label }: { rows?: number; height?: number; label: string }) {
  return (
    <div className={classes.loading} role="status" aria-label={label}>
      {Array.from({ length: rows }, (_, i) => (
        <Skeleton key={i} height={height} radius="md" className={classes.block} />
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

/** Error: what happened, why, what to do. What is forbidden is no fault; where asking again does not help it is not offered. */
export function ErrorFace({ trouble, onRetry, retrying = false }: { trouble: Trouble; onRetry?: () => void; retrying?: boolean }) {
  const forbidden = trouble.status === 403;
  const gone = trouble.status === 404;
  return (
    <div className={`card ${classes.error}`} role="alert">
      {forbidden ? <IconLock size={22} aria-hidden className={classes.lock} /> : <ToneIcon tone="bad" size={22} />}
      <div>
        <h2>{trouble.title}</h2>
        {trouble.detail && <p className="quiet">{trouble.detail}</p>}
        {trouble.fix && <p>{trouble.fix}</p>}
        {onRetry && !forbidden && !gone && (
          <Button variant="default" size="xs" mt={12} leftSection={<IconRefresh size={14} />} loading={retrying} onClick={onRetry}>
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
