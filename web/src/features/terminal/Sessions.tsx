import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { count, sentenceCase } from '../../lib/format';
import { useEndTerminal, useTerminalSessions, type TerminalSession } from './queries';
import classes from './Terminal.module.css';

const kindWords: Record<TerminalSession['kind'], string> = { engine: 'Engine shell', admin: 'Engine shell, admin', os: 'Shell of the host' };

/** Terminals of a cluster, open ones and those before, newest first. */
export function Sessions({ cluster }: { cluster: string }) {
  const query = useTerminalSessions(cluster);
  const end = useEndTerminal(cluster);
  const [ending, setEnding] = useState<TerminalSession | null>(null);
  const columns: Column<TerminalSession>[] = [
    {
      head: 'Node',
      cell: (s) => (
        <>
          {s.node}
          <Under>
            {kindWords[s.kind]}
            {s.kind === 'engine' && (s.write ? ', writing' : ', reading')}
          </Under>
        </>
      ),
    },
    {
      head: 'Who',
      cell: (s) => (
        <>
          {s.who}
          {s.reason && <Under>{s.reason}</Under>}
        </>
      ),
    },
    { head: 'Began', cell: (s) => <Age at={s.beganAt} event sentence /> },
    {
      head: 'Typed',
      kind: 'num',
      cell: (s) => (
        <>
          {s.kind === 'os' ? count(s.commands, 'line') : count(s.commands, 'command')}
          {s.kind !== 'os' && (
            <Under>
              {s.changes} changed something, {s.refused} refused
            </Under>
          )}
        </>
      ),
    },
    {
      head: 'State',
      kind: 'wide',
      cell: (s) => (s.endedAt === null ? <StatusBadge tone="warn">Open</StatusBadge> : <span className="quiet">{sentenceCase(s.why)}</span>),
    },
    {
      head: 'Actions',
      kind: 'actions',
      cell: (s) => (
        <span className={classes.buttons}>
          {s.mayRead && (
            <Button component={Link} size="xs" variant="default" {...({ to: '/clusters/$id/terminal/$session', params: { id: cluster, session: s.id } } as object)} aria-label={`Recording of ${s.who} on ${s.node}`}>
              Recording
            </Button>
          )}
          {s.mayEnd && (
            <Button size="xs" variant="default" onClick={() => setEnding(s)} aria-label={`End the terminal of ${s.who} on ${s.node}`}>
              End…
            </Button>
          )}
        </span>
      ),
    },
  ];
  return (
    <section className={classes.section} aria-labelledby="terminal-sessions">
      <h2 className="section-title" id="terminal-sessions">
        Terminals of this cluster
      </h2>
      <QueryFaces query={query} label="Loading the terminals" rows={2}>
        {(data) =>
          data.sessions.length === 0 ? (
            <p className="quiet">There was none yet.</p>
          ) : (
            <DataTable caption="Terminals of this cluster, newest first" columns={columns} rows={data.sessions} keyOf={(s) => s.id} testId={() => 'terminal-session'} />
          )
        }
      </QueryFaces>
      {ending && (
        <ActionDialog
          title={`End the terminal of ${ending.who} on ${ending.node}`}
          reason="optional"
          verb="End it"
          danger
          cli={(given) => cli.endTerminal(ending.id, given.reason)}
          act={(given) => end.mutateAsync({ id: ending.id, reason: given.reason })}
          onDone={() => setEnding(null)}
          onClose={() => setEnding(null)}
        >
          <p className="quiet">What runs in it is ended at once. Its person is told by whom, and why.</p>
        </ActionDialog>
      )}
    </section>
  );
}
