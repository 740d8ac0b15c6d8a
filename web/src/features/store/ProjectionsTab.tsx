import { Button, TextInput } from '@mantine/core';
import { IconChevronLeft } from '@tabler/icons-react';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useId, useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { useChange } from '../../api/query';
import { StatusBadge } from '../../components/Badges';
import { CopyCommand } from '../../components/Copy';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { Empty, Note } from '../../components/Faces';
import { Facts, Panel } from '../../components/Page';
import { cli } from '../../lib/cli';
import { group, rate, sentenceCase } from '../../lib/format';
import { useCluster } from '../clusters/queries';
import { may, useRole } from '../session/session';
import { Json } from '../streams/Json';
import { StoreFaces } from './Login';
import { CommandDialog, DeleteProjection, EditProjection, NewProjection, type Command } from './ProjectionDialogs';
import { storeKeys, useProjection, useProjections, useProjectionState } from './queries';
import { progressText, projectionTone } from './store';
import classes from './Store.module.css';
import type { Projection, ProjectionDetail, ProjectionList } from './types';

const route = getRouteApi('/shell/clusters/$id');

/** Projections: what runs, how far it is, why it halted, and its source. */
export function ProjectionsTab() {
  const { id } = route.useParams();
  const { projection = '' } = route.useSearch();
  const navigate = useNavigate();
  const { data: cluster } = useCluster(id);
  if (!cluster) return null;
  const open = (name?: string) => void navigate({ to: '.', search: (old) => ({ ...old, projection: name, partition: undefined }), resetScroll: false });
  return <div className={classes.page}>{projection ? <One key={projection} cluster={id} name={projection} onOpen={open} /> : <All cluster={id} onOpen={open} />}</div>;
}

function State({ projection: p, why = false }: { projection: Projection; why?: boolean }) {
  return (
    <>
      <StatusBadge tone={projectionTone(p)}>{p.state === 'changing' ? p.status || 'Not known' : sentenceCase(p.state)}</StatusBadge>
      {why && p.state === 'faulted' && p.reason && <Under>{p.reason.slice(0, 120)}</Under>}
    </>
  );
}

function Progress({ projection: p }: { projection: Projection }) {
  return (
    <>
      <span className="num">{progressText(p.progress)}</span>
      {p.progress !== null && (
        <span className={classes.bar} aria-hidden="true">
          <span style={{ width: `${Math.min(100, Math.max(0, p.progress))}%` }} />
        </span>
      )}
    </>
  );
}

function All({ cluster, onOpen }: { cluster: string; onOpen: (name?: string) => void }) {
  const list = useProjections(cluster);
  return (
    <StoreFaces cluster={cluster} query={list} label="Reading the projections" rows={4}>
      {(l) => (l.available ? <List cluster={cluster} list={l} onOpen={onOpen} /> : <Unavailable list={l} />)}
    </StoreFaces>
  );
}

function Unavailable({ list: l }: { list: ProjectionList }) {
  return (
    <Note tone="unknown" title={l.why}>
      <p>
        To have them, {l.fix}. Streams, subscriptions and everything else work without.
      </p>
    </Note>
  );
}

function List({ cluster, list: l, onOpen }: { cluster: string; list: ProjectionList; onOpen: (name?: string) => void }) {
  const role = useRole();
  const [making, setMaking] = useState(false);
  const operate = may.operate(role) && has('POST /clusters/{id}/projections/command');
  const command = useChange((body: { name: string; command: string }) => api.post(`${path('clusters', cluster)}/projections/command`, body), storeKeys.projections(cluster));
  const faulted = l.projections.filter((p) => p.state === 'faulted').length;
  const running = l.projections.filter((p) => p.state === 'running').length;
  const make = may.operate(role) && has('POST /clusters/{id}/projections') && (
    <Button variant="default" onClick={() => setMaking(true)}>
      New projection
    </Button>
  );
  const columns: Column<Projection>[] = [
    {
      head: 'Projection',
      cell: (p) => (
        <>
          <button type="button" className={classes.name} onClick={() => onOpen(p.name)}>
            {p.name}
          </button>
          <Under>{[p.system ? 'the event store’s own' : '', p.mode && p.mode.toLowerCase()].filter(Boolean).join(', ')}</Under>
        </>
      ),
    },
    { head: 'State', cell: (p) => <State projection={p} why /> },
    { head: 'Progress', cell: (p) => <Progress projection={p} />, kind: 'num' },
    { head: 'Events per second', cell: (p) => rate(p.perSecond), kind: 'num' },
    { head: 'Handled', cell: (p) => group(p.processed), kind: 'num' },
    { head: 'Checkpoint', cell: (p) => <>{p.checkpointStatus || (p.checkpoint ? 'Written' : 'None')}<Under>{p.checkpoint}</Under></> },
    ...(operate
      ? [
          {
            head: 'Actions',
            kind: 'actions' as const,
            cell: (p: Projection) => (
              <span className={classes.act}>
                {p.state === 'running' || p.state === 'changing' ? (
                  <Button size="xs" variant="default" loading={command.isPending && command.variables.name === p.name} onClick={() => command.mutate({ name: p.name, command: 'disable' })} aria-label={`Disable ${p.name}`}>
                    Disable
                  </Button>
                ) : (
                  <Button size="xs" variant="default" loading={command.isPending && command.variables.name === p.name} onClick={() => command.mutate({ name: p.name, command: 'enable' })} aria-label={`Enable ${p.name}`}>
                    Enable
                  </Button>
                )}
                <CopyCommand value={cli.commandProjection(cluster, p.name, p.state === 'running' || p.state === 'changing' ? 'disable' : 'enable')} />
              </span>
            ),
          },
        ]
      : []),
  ];
  return (
    <>
      {l.projections.length === 0 ? (
        <Empty title="There is no projection">
          <p className="quiet">A projection is fed events in order: it keeps a state, or writes and links events.</p>
          {make}
        </Empty>
      ) : (
        <>
          <div className={classes.tools}>
            <p className="quiet">
              {running} of {l.projections.length} run, {faulted === 0 ? 'none is faulted' : `${faulted} ${faulted === 1 ? 'is' : 'are'} faulted`}.
            </p>
            {make}
          </div>
          {command.error && (
            <Note tone="bad" title={`${command.variables?.name ?? 'It'} was not changed`}>
              <p>{command.error.message}</p>
            </Note>
          )}
          <DataTable caption="Projections, by name" columns={columns} rows={l.projections} keyOf={(p) => p.name} testId={(p) => `projection-${p.name}`} />
        </>
      )}
      {making && <NewProjection cluster={cluster} onClose={() => setMaking(false)} onDone={(name) => (setMaking(false), onOpen(name))} />}
    </>
  );
}

function One({ cluster, name, onOpen }: { cluster: string; name: string; onOpen: (name?: string) => void }) {
  const one = useProjection(cluster, name);
  const role = useRole();
  const [dialog, setDialog] = useState<Command | 'edit' | 'delete' | null>(null);
  const close = () => setDialog(null);
  const p = one.data?.projection;
  const on = p?.state === 'running' || p?.state === 'changing';
  const operate = may.operate(role) && p !== undefined && has('POST /clusters/{id}/projections/command');
  return (
    <Panel
      title={name}
      lead={p?.system ? 'One of the event store’s own: its source is in the program.' : undefined}
      aside={
        <>
          <Button variant="default" size="xs" leftSection={<IconChevronLeft size={14} />} onClick={() => onOpen()}>
            All projections
          </Button>
          {operate && (
            <>
              {on ? (
                <>
                  <Button variant="default" size="xs" onClick={() => setDialog('disable')}>
                    Disable…
                  </Button>
                  <Button variant="default" size="xs" onClick={() => setDialog('abort')}>
                    Abort…
                  </Button>
                </>
              ) : (
                <Button variant="default" size="xs" onClick={() => setDialog('enable')}>
                  Enable…
                </Button>
              )}
              <Button variant="default" size="xs" onClick={() => setDialog('reset')}>
                Reset…
              </Button>
            </>
          )}
          {may.administer(role) && p && !p.system && has('POST /clusters/{id}/projections/delete') && (
            <Button variant="subtle" color="bad" size="xs" onClick={() => setDialog('delete')}>
              Delete…
            </Button>
          )}
        </>
      }
    >
      <StoreFaces cluster={cluster} query={one} label={`Reading ${name}`} rows={3} height={90}>
        {(d) => <Body cluster={cluster} detail={d} onEdit={may.operate(role) && !d.projection.system && d.queryKnown && has('PUT /clusters/{id}/projections') ? () => setDialog('edit') : null} />}
      </StoreFaces>
      {dialog === 'edit' && one.data && <EditProjection cluster={cluster} detail={one.data} onClose={close} />}
      {dialog === 'delete' && one.data && <DeleteProjection cluster={cluster} detail={one.data} onClose={close} onDone={() => (close(), onOpen())} />}
      {dialog !== null && dialog !== 'edit' && dialog !== 'delete' && <CommandDialog cluster={cluster} name={name} command={dialog} emits={one.data?.emit ?? null} onClose={close} />}
    </Panel>
  );
}

function Body({ cluster, detail: d, onEdit }: { cluster: string; detail: ProjectionDetail; onEdit: (() => void) | null }) {
  const p = d.projection;
  return (
    <>
      {p.state === 'faulted' && (
        <Note tone="bad" title="It halted at an event it could not handle">
          <p>{p.reason || 'The event store gives no reason.'}</p>
          <p>Mend its source, then enable it: it goes on at that event.</p>
        </Note>
      )}
      <Facts
        facts={[
          ['State', <State key="s" projection={p} />],
          ['Mode', sentenceCase(p.mode.toLowerCase())],
          ['Progress', progressText(p.progress)],
          ['Position', p.position || 'Nothing read yet'],
          ['Handled', `${group(p.processed)} since it started, ${rate(p.perSecond)} a second`],
          ['Waiting', `${group(p.buffered)} events read, ${group(p.writesInProgress)} writes and ${group(p.readsInProgress)} reads going on`],
          ['Checkpoint', [p.checkpoint || 'None yet', p.checkpointStatus].filter(Boolean).join(', ')],
          ['May write', d.emit === null ? 'Not known' : d.emit ? 'Yes' : 'No'],
          ['Partitions in memory', group(p.partitions)],
          ['Version', `${group(p.version)}, epoch ${group(p.epoch)}`],
        ]}
      />
      <StatePart cluster={cluster} detail={d} />
      <section className={classes.part} aria-label="Source">
        <div className={classes.tools}>
          <h3>Source</h3>
          {onEdit && (
            <Button variant="default" size="xs" onClick={onEdit}>
              Edit…
            </Button>
          )}
        </div>
        {d.queryKnown && d.query ? (
          <pre className={classes.source} tabIndex={0} data-testid="source">
            {d.query}
          </pre>
        ) : (
          <p className="quiet">{p.system ? 'It has none: it is part of the event store.' : 'The account Baton signs in with may not read it.'}</p>
        )}
      </section>
    </>
  );
}

/** State and result, of all or of one partition. */
function StatePart({ cluster, detail: d }: { cluster: string; detail: ProjectionDetail }) {
  const role = useRole();
  const { partition = '' } = route.useSearch();
  const navigate = useNavigate();
  const [typed, setTyped] = useState(partition);
  const list = useId();
  const state = useProjectionState(cluster, d.projection.name, partition);
  if (d.projection.system && !may.operate(role)) return null;
  const choose = (name: string) => void navigate({ to: '.', search: (old) => ({ ...old, partition: name || undefined }), replace: true, resetScroll: false });
  return (
    <section className={classes.part} aria-label="State and result">
      <h3>State{partition && ` of ${partition}`}</h3>
      <form
        className={classes.choose}
        onSubmit={(e) => {
          e.preventDefault();
          choose(typed.trim());
        }}
      >
        <TextInput label="Partition" placeholder="all of it" value={typed} onChange={(e) => setTyped(e.currentTarget.value)} list={list} spellCheck={false} autoComplete="off" />
        <datalist id={list}>
          {d.partitions.map((name) => (
            <option key={name} value={name} />
          ))}
        </datalist>
        <Button type="submit" variant="default">
          Show
        </Button>
      </form>
      <StoreFaces cluster={cluster} query={state} label="Reading the state" rows={1} height={80}>
        {(s) => (
          <div className={classes.states} data-testid="state">
            <div>
              <p className={classes.label}>State</p>
              {s.state ? <Json value={s.state} /> : <p className="quiet">There is none{d.partitions.length > 0 && !partition && ': it keeps one for each partition'}.</p>}
            </div>
            {s.result && (
              <div>
                <p className={classes.label}>Result</p>
                <Json value={s.result} />
              </div>
            )}
          </div>
        )}
      </StoreFaces>
    </section>
  );
}
