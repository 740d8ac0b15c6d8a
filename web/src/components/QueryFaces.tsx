import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { troubleFrom } from '../api/errors';
import { useNow } from '../lib/clock';
import { age } from '../lib/format';
import { ErrorFace, Loading, Note } from './Faces';

interface FacesProps<T> {
  query: Pick<UseQueryResult<T>, 'isPending' | 'data' | 'error' | 'refetch' | 'dataUpdatedAt' | 'isError'>;
  /** What is loaded, for those who do not see the outline. */
  label: string;
  rows?: number;
  height?: number;
  children: (data: T) => ReactNode;
}

/** Loading, error and stale for one answer; empty is the children's, who know what to do next. */
export function QueryFaces<T>({ query, label, rows = 4, height, children }: FacesProps<T>) {
  if (query.isPending) return <Loading rows={rows} height={height} label={label} />;
  if (query.data === undefined) return <ErrorFace trouble={troubleFrom(query.error)} onRetry={() => void query.refetch()} />;
  return (
    <>
      {query.isError && <Stale since={query.dataUpdatedAt} why={troubleFrom(query.error).title} />}
      {children(query.data)}
    </>
  );
}

/** What is shown is old: how old, and why. */
function Stale({ since, why }: { since: number; why: string }) {
  const now = useNow();
  return (
    <div style={{ marginBottom: 14 }}>
      <Note tone="warn" title={`What you see is ${age(Math.max(0, now - since))} old`}>
        <p>{why}. This page asks again by itself.</p>
      </Note>
    </div>
  );
}
