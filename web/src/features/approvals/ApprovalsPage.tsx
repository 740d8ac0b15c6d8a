import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Waiting } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { Empty } from '../../components/Faces';
import { PageHead } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { dateTime, sentenceCase } from '../../lib/format';
import { useSession } from '../session/session';
import { useApprovals, waits } from './queries';

/** Promotions that wait for a second person. */
export function ApprovalsPage() {
  const approvals = useApprovals();
  const me = useSession().data?.username;
  const [chosen, setChosen] = useState<{ approval: Waiting; verdict: 'approve' | 'reject' } | null>(null);
  const columns: Column<Waiting>[] = [
    {
      head: 'What',
      cell: (a) => (
        <>
          Promote {a.node}
          <Under>
            in{' '}
            <Link to="/clusters/$id" params={{ id: a.cluster }}>
              {a.cluster}
            </Link>
          </Under>
        </>
      ),
    },
    { head: 'Asked for by', cell: (a) => <>{a.requester}<Under><Age at={a.askedAt} sentence event /></Under></> },
    { head: 'Reason', cell: (a) => a.reason || <span className="faint">none given</span>, kind: 'wide' },
    { head: 'State', cell: (a) => <><StatusBadge tone={waits(a) ? 'warn' : a.state === 'refused' || a.state === 'cancelled' ? 'unknown' : 'ok'}>{waits(a) ? 'Waits' : a.approver ? `Approved by ${a.approver}` : sentenceCase(a.state)}</StatusBadge>{a.why && <Under>{sentenceCase(a.why)}</Under>}{waits(a) && a.expiresAt && <Under>lapses {dateTime(a.expiresAt).slice(0, 16)}</Under>}</> },
    {
      head: 'Actions',
      kind: 'actions',
      cell: (a) =>
        waits(a) && a.requester === me ? (
          <span className="faint">another person must decide</span>
        ) : waits(a) && a.mayApprove ? (
            <>
              {has('POST /approvals/{id}/approve') && (
                <Button size="xs" onClick={() => setChosen({ approval: a, verdict: 'approve' })}>
                  Approve
                </Button>
              )}
              {has('POST /approvals/{id}/reject') && (
                <Button size="xs" variant="default" onClick={() => setChosen({ approval: a, verdict: 'reject' })}>
                  Reject
                </Button>
              )}
            </>
        ) : a.operationId ? (
          <Link to="/clusters/$id/operations/$op" params={{ id: a.cluster, op: a.operationId }}>
            What came of it
          </Link>
        ) : null,
    },
  ];
  return (
    <>
      <PageHead title="Approvals" lead="Promotions of clusters whose policy asks for a second person. All checks are made again when one is approved." />
      <QueryFaces query={approvals} label="Loading the approvals">
        {(a) => {
          const list = [...(a.approvals ?? [])].sort((x, y) => Number(waits(y)) - Number(waits(x)) || Date.parse(y.askedAt) - Date.parse(x.askedAt));
          return list.length === 0 ? (
            <Empty title="Nothing waits for you">
              <p className="quiet">A cluster’s settings say whether its promotions need a second person.</p>
            </Empty>
          ) : (
            <DataTable caption="Approvals, waiting first" columns={columns} rows={list} keyOf={(x) => x.id} testId={() => 'approval'} />
          );
        }}
      </QueryFaces>
      {chosen && <DecideDialog {...chosen} onClose={() => setChosen(null)} />}
    </>
  );
}

function DecideDialog({ approval: a, verdict, onClose }: { approval: Waiting; verdict: 'approve' | 'reject'; onClose: () => void }) {
  const decide = useChange((reason: string) => api.post(path('approvals', a.id, verdict), reason === '' ? {} : { note: reason }), keys.approvals, keys.cluster(a.cluster));
  const yes = verdict === 'approve';
  return (
    <ActionDialog title={yes ? `Approve promoting ${a.node}` : `Reject promoting ${a.node}`} verb={yes ? 'Approve and run' : 'Reject'} danger={!yes} typed={yes ? a.node : undefined} reason={yes ? undefined : 'optional'} cli={({ reason }) => cli.decide(a.id, !yes, reason)} act={({ reason }) => decide.mutateAsync(reason)} onDone={onClose} onClose={onClose}>
      <p>
        {a.requester} asks for {a.node} to lead {a.cluster}
        {a.reason ? `: “${a.reason}”.` : ', without a reason.'} {yes ? 'It runs at once if every check still passes.' : 'Nothing is changed; the audit keeps your answer.'}
      </p>
      {yes && (
        <p>
          <Link to="/clusters/$id" params={{ id: a.cluster }} search={{ promote: a.node }}>
            See its report, plan and expected stall first
          </Link>
        </p>
      )}
    </ActionDialog>
  );
}
