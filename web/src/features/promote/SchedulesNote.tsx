import { Button } from '@mantine/core';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange, useGet } from '../../api/query';
import type { Waiting } from '../../api/types';
import { CopyCommand } from '../../components/Copy';
import { Note } from '../../components/Faces';
import { cli } from '../../lib/cli';
import { dateTime } from '../../lib/format';
import { may, useRole } from '../session/session';

/** Promotions that wait for their time; each can be taken back until then. */
export function SchedulesNote({ cluster }: { cluster: string }) {
  const role = useRole();
  const schedules = useGet<{ schedules: Waiting[] | null }>(keys.schedules(cluster), path('clusters', cluster, 'schedules'), { route: '/clusters/{id}/schedules', every: 10_000 });
  const cancel = useChange((id: string) => api.delete(path('clusters', cluster, 'schedules', id)), keys.schedules(cluster));
  const list = (schedules.data?.schedules ?? []).filter((s) => s.at !== null && (s.state === 'scheduled' || s.state === 'awaiting-approval'));
  return (
    <>
      {list.map((s) => (
        <div key={s.id} style={{ marginBottom: 14 }}>
          <Note tone="unknown" title={`${s.node} will be promoted at ${dateTime(s.at)}`}>
            <p>
              Asked for by {s.requester}
              {s.reason ? `: “${s.reason}”` : ''}. {s.state === 'awaiting-approval' ? 'It waits for a second person first.' : 'Every check is made again then.'}
            </p>
            {has('DELETE /clusters/{id}/schedules/{schedule}') && may.operate(role) && (
              <div style={{ display: 'flex', gap: 6, alignItems: 'center', marginTop: 8 }}>
                <Button size="xs" variant="default" loading={cancel.isPending} onClick={() => cancel.mutate(s.id)}>
                  Cancel it
                </Button>
                <CopyCommand value={cli.cancelSchedule(cluster, s.id)} />
              </div>
            )}
          </Note>
        </div>
      ))}
    </>
  );
}
