import { Button, NativeSelect, TextInput } from '@mantine/core';
import { IconDownload } from '@tabler/icons-react';
import { useInfiniteQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { has } from '../../api/capabilities';
import { api } from '../../api/client';
import { keys } from '../../api/keys';
import type { AuditRow } from '../../api/types';
import { QueryFaces } from '../../components/QueryFaces';
import { Empty } from '../../components/Faces';
import { PageHead } from '../../components/Page';
import { AuditDrawer, AuditRows } from '../audit/AuditRows';
import { ChainCheck } from '../audit/ChainCheck';
import { exportHref } from '../audit/export';
import { outcomeWord } from '../audit/outcome';
import { useClusters } from '../clusters/queries';
import { kindWord } from '../operations/operation';
import { may, useRole } from '../session/session';
import classes from './ActivityPage.module.css';

const route = getRouteApi('/shell/activity');
const pageSize = 50;
/** New rows are asked for this often; pages further back rest. */
const pollMs = 10_000;

type Page = { rows: AuditRow[] | null; next: string };

/** Everything that was done or tried, on all clusters, newest first. */
export function ActivityPage() {
  const search = route.useSearch();
  const navigate = useNavigate();
  const clusters = useClusters();
  const role = useRole();
  const { cluster, who, outcome, kind } = search;
  const activity = useInfiniteQuery({
    queryKey: [...keys.activity, cluster, who, outcome, kind],
    initialPageParam: '',
    queryFn: ({ pageParam, signal }) => {
      const q = new URLSearchParams({ limit: String(pageSize) });
      for (const [k, v] of Object.entries({ cluster, who, outcome, kind, before: pageParam })) if (v) q.set(k, v);
      return api.get<Page>(`/activity?${q}`, signal);
    },
    getNextPageParam: (last): string | undefined => last.next || undefined,
    refetchInterval: (q) => ((q.state.data?.pages.length ?? 0) <= 1 ? pollMs : false),
    enabled: has('GET /activity'),
  });
  const patch = (change: Partial<typeof search>) => void navigate({ to: '.', search: (old) => ({ ...old, ...change }), replace: true, resetScroll: false });
  const filtered = !!(cluster || who || outcome || kind);
  return (
    <>
      <PageHead
        title="Activity"
        lead="Everything that was done or tried, by people and by itself, newest first. Refused and cancelled attempts too."
        actions={
          has('GET /audit/export') && may.audit(role) ? (
            <>
              <Button component="a" variant="default" size="xs" leftSection={<IconDownload size={15} />} href={exportHref('csv', cluster)} download>
                CSV
              </Button>
              <Button component="a" variant="default" size="xs" leftSection={<IconDownload size={15} />} href={exportHref('json', cluster)} download>
                JSON
              </Button>
            </>
          ) : undefined
        }
      />
      <div className={classes.filters}>
        <NativeSelect aria-label="Cluster" value={cluster ?? ''} onChange={(e) => patch({ cluster: e.currentTarget.value || undefined })} data={[{ value: '', label: 'All clusters' }, ...(clusters.data ?? []).map((c) => ({ value: c.id, label: c.name }))]} />
        <NativeSelect aria-label="Kind" value={kind ?? ''} onChange={(e) => patch({ kind: e.currentTarget.value || undefined })} data={[{ value: '', label: 'All kinds' }, ...Object.entries(kindWord).map(([value, label]) => ({ value, label }))]} />
        <NativeSelect aria-label="Outcome" value={outcome ?? ''} onChange={(e) => patch({ outcome: e.currentTarget.value || undefined })} data={[{ value: '', label: 'All outcomes' }, ...Object.entries(outcomeWord).map(([value, label]) => ({ value, label }))]} />
        <TextInput aria-label="Person" placeholder="Person" defaultValue={who ?? ''} onBlur={(e) => patch({ who: e.currentTarget.value.trim() || undefined })} onKeyDown={(e) => e.key === 'Enter' && patch({ who: e.currentTarget.value.trim() || undefined })} />
        {filtered && (
          <Button variant="subtle" size="sm" onClick={() => void navigate({ to: '/activity', replace: true })}>
            Clear
          </Button>
        )}
        <span className={classes.chain}>
          <ChainCheck />
        </span>
      </div>
      <QueryFaces query={activity} label="Loading the activity" rows={6} height={52}>
        {(data) => {
          const rows = data.pages.flatMap((p) => p.rows ?? []);
          return rows.length === 0 ? (
            <Empty title={filtered ? 'Nothing matches these filters' : 'Nothing was done yet'}>
              <p className="quiet">{filtered ? 'Widen them, or clear them.' : 'Promotions, backups, changed settings and refusals appear here.'}</p>
            </Empty>
          ) : (
            <>
              <AuditRows rows={rows} onOpen={(row) => patch({ row })} withCluster />
              {activity.hasNextPage && (
                <Button variant="default" mt={16} onClick={() => void activity.fetchNextPage()} loading={activity.isFetchingNextPage}>
                  Show older
                </Button>
              )}
              {search.row && <AuditDrawer row={rows.find((r) => r.id === search.row)} onClose={() => patch({ row: undefined })} />}
            </>
          );
        }}
      </QueryFaces>
    </>
  );
}
