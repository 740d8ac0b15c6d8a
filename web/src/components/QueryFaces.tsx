import type { UseQueryResult } from '@tanstack/react-query';
import { useState, type ReactNode } from 'react';
import { troubleFrom, type Trouble } from '../api/errors';
import { useNow } from '../lib/clock';
import { age } from '../lib/format';
import { ErrorFace, Loading, Note } from './Faces';

type Asked<T> = Pick<UseQueryResult<T>, 'data' | 'error' | 'errorUpdateCount'>;

/**
 * Why there is nothing to show; null while it loads for the first time and
 * once there is something. It stays while the question is asked again: a
 * reason that blinks away with every try cannot be read.
 */
export function useTrouble<T>({ data, error, errorUpdateCount }: Asked<T>): Trouble | null {
  const [last, setLast] = useState<Error | null>(null);
  if (error !== null && error !== last) setLast(error);
  const why = error ?? last;
  return data !== undefined || why === null || errorUpdateCount === 0 ? null : troubleFrom(why);
}

interface FacesProps<T> {
  query: Asked<T> & Pick<UseQueryResult<T>, 'refetch' | 'dataUpdatedAt' | 'isError' | 'isFetching'>;
  /** What is loaded, for those who do not see the outline. */
  label: string;
  rows?: number;
  height?: number;
  children: (data: T) => ReactNode;
}

/** Loading, error and stale for one answer; empty is the children's, who know what to do next. */
export function QueryFaces<T>({ query, label, rows = 4, height, children }: FacesProps<T>) {
  const trouble = useTrouble(query);
  if (trouble) return <ErrorFace trouble={trouble} retrying={query.isFetching} onRetry={() => void query.refetch()} />;
  if (query.data === undefined) return <Loading rows={rows} height={height} label={label} />;
  return (
    <>
      {query.isError && <Stale since={query.dataUpdatedAt} why={troubleFrom(query.error).title} />}
      {children(query.data)}
    </>
  );
}

/** What is shown is old: how old, and why. */
export function Stale({ since, why }: { since: number; why: string }) {
  const now = useNow();
  return (
    <div style={{ marginBottom: 14 }}>
      <Note tone="warn" title={`What you see is ${age(Math.max(0, now - since))} old`}>
        <p>{why}. This page asks again by itself.</p>
      </Note>
    </div>
  );
}
