import { Tooltip } from '@mantine/core';
import { IconClockPause } from '@tabler/icons-react';
import type { ReactNode } from 'react';
import { useNow, useStale } from '../lib/clock';
import { age, ageMs, ago, dateTime, isStale } from '../lib/format';

interface AgeProps {
  at: string | null | undefined;
  /** Who observed it. */
  by?: string;
  /** "4 s ago" instead of "4 s". */
  sentence?: boolean;
  /** For things that happened, not values that are observed: never marked stale. */
  event?: boolean;
}

/** How old a value is. Past three seconds it is grey and carries a clock, besides the number. */
export function Age({ at, by, sentence = false, event = false }: AgeProps) {
  const now = useNow();
  const ms = ageMs(at, now);
  const stale = !event && isStale(ms);
  const text = sentence ? ago(ms) : age(ms);
  return (
    <Tooltip label={`${dateTime(at)}${by ? `, observed by ${by}` : ''}${stale ? '. Older than 3 s: it may no longer be true.' : ''}`}>
      <time
        dateTime={at ?? undefined}
        className="num nowrap"
        data-age-stale={stale || undefined}
        style={stale ? { color: 'var(--ink-3)', display: 'inline-flex', alignItems: 'center', gap: 4 } : undefined}
      >
        {stale && <IconClockPause size={13} aria-label="stale" />}
        {text}
      </time>
    </Tooltip>
  );
}

/** Greys its content when the observation it shows is older than three seconds. */
export function Dated({ at, children, className }: { at: string | null | undefined; children: ReactNode; className?: string }) {
  return (
    <span data-stale={useStale(at) || undefined} className={className}>
      {children}
    </span>
  );
}
