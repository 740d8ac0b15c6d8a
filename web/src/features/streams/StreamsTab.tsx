import { Button, Switch, Textarea, TextInput } from '@mantine/core';
import { IconChevronLeft, IconRefresh } from '@tabler/icons-react';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { EventText, StreamPage, StreamRow } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { DataTable, type Column } from '../../components/DataTable';
import { Empty, Note } from '../../components/Faces';
import { Panel } from '../../components/Page';
import { cli } from '../../lib/cli';
import { dateTime, group } from '../../lib/format';
import { useCluster } from '../clusters/queries';
import { may, useRole } from '../session/session';
import { StoreFaces } from '../store/Login';
import { olderFrom, standsAt, whyNotEvent } from './events';
import { Json } from './Json';
import { useStream, useStreams } from './queries';
import classes from './StreamsTab.module.css';

const route = getRouteApi('/shell/clusters/$id');

/** What the event store holds, stream by stream. */
export function StreamsTab() {
  const { id } = route.useParams();
  const { stream = '', from = '' } = route.useSearch();
  const navigate = useNavigate();
  const role = useRole();
  const { data: cluster } = useCluster(id);
  const [appending, setAppending] = useState(false);
  if (!cluster) return null;
  const open = (name?: string, at?: string) => void navigate({ to: '.', search: (old) => ({ ...old, stream: name, from: at }), resetScroll: false });
  return (
    <div className={classes.page}>
      <div className={classes.tools}>
        <OpenStream onOpen={(name) => open(name)} />
        {has('POST /clusters/{id}/streams/events') && may.operate(role) && (
          <span className={classes.end}>
            <Button variant="default" onClick={() => setAppending(true)}>
              Append an event
            </Button>
          </span>
        )}
      </div>
      {stream === '' ? <Recent cluster={id} operate={may.operate(role)} onOpen={(name) => open(name)} /> : <Stream cluster={id} stream={stream} from={from} administer={may.administer(role)} onOpen={open} />}
      {appending && <AppendDialog cluster={id} stream={stream} onClose={() => setAppending(false)} onDone={(name) => (setAppending(false), open(name))} />}
    </div>
  );
}

function OpenStream({ onOpen }: { onOpen: (name: string) => void }) {
  const [name, setName] = useState('');
  return (
    <form
      className={classes.open}
      onSubmit={(e) => {
        e.preventDefault();
        if (name.trim() !== '') onOpen(name.trim());
      }}
    >
      <TextInput label="Stream" placeholder="order-7" value={name} onChange={(e) => setName(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <Button type="submit" variant="default" disabled={name.trim() === ''}>
        Open
      </Button>
    </form>
  );
}

function Recent({ cluster, operate, onOpen }: { cluster: string; operate: boolean; onOpen: (name: string) => void }) {
  const [system, setSystem] = useState(false);
  const list = useStreams(cluster, system, true);
  const columns: Column<StreamRow>[] = [
    {
      head: 'Stream',
      cell: (s) => (
        <button type="button" className={classes.name} onClick={() => onOpen(s.name)}>
          {s.name}
        </button>
      ),
    },
    { head: 'Last event', cell: (s) => s.type, kind: 'wide' },
    { head: 'Revision', cell: (s) => group(s.revision), kind: 'num' },
    { head: 'Changed', cell: (s) => <Age at={s.at} sentence event /> },
    { head: 'Among the newest', cell: (s) => group(s.events), kind: 'num' },
  ];
  return (
    <Panel title="Streams that changed last" lead={`From the newest ${group(list.data?.looked ?? 2000)} events. Older streams are opened by name.`} aside={operate && <Switch size="xs" label="The system’s too" checked={system} onChange={(e) => setSystem(e.currentTarget.checked)} />}>
      <StoreFaces cluster={cluster} query={list} label="Looking for the newest events" rows={4}>
        {(l) =>
          l.streams.length === 0 ? (
            <Empty title="Nothing was written lately">
              <p className="quiet">Streams appear here as soon as a client appends to them.</p>
            </Empty>
          ) : (
            <DataTable caption="Streams, the last changed first" columns={columns} rows={l.streams} keyOf={(s) => s.name} testId={(s) => `stream-${s.name}`} />
          )
        }
      </StoreFaces>
    </Panel>
  );
}

function Stream({ cluster, stream, from, administer, onOpen }: { cluster: string; stream: string; from: string; administer: boolean; onOpen: (name?: string, from?: string) => void }) {
  const [links, setLinks] = useState(true);
  const [deleting, setDeleting] = useState(false);
  const page = useStream(cluster, stream, from, links);
  return (
    <Panel
      title={stream}
      aside={
        <span className={classes.bar}>
          <Switch size="xs" label="Resolve links" checked={links} onChange={(e) => setLinks(e.currentTarget.checked)} />
          <Button variant="default" size="xs" leftSection={<IconChevronLeft size={14} />} onClick={() => onOpen()}>
            All streams
          </Button>
          <Button variant="default" size="xs" leftSection={<IconRefresh size={14} />} loading={page.isFetching} onClick={() => void page.refetch()}>
            Read again
          </Button>
          {administer && has('POST /clusters/{id}/streams/delete') && !stream.startsWith('$') && (
            <Button variant="subtle" color="bad" size="xs" onClick={() => setDeleting(true)}>
              Delete…
            </Button>
          )}
        </span>
      }
    >
      <StoreFaces cluster={cluster} query={page} label={`Reading ${stream}`} rows={3} height={90}>
        {(p) => <Page page={p} from={from} onOpen={onOpen} />}
      </StoreFaces>
      {deleting && <DeleteDialog cluster={cluster} stream={stream} onClose={() => setDeleting(false)} onDone={() => (setDeleting(false), onOpen())} />}
    </Panel>
  );
}

function Page({ page: p, from, onOpen }: { page: StreamPage; from: string; onOpen: (name?: string, from?: string) => void }) {
  const older = olderFrom(p);
  if (!p.exists || (p.events.length === 0 && from === '')) {
    return (
      <Note tone="unknown" title={p.exists ? 'It holds no event that can be read' : 'There is no such stream'}>
        <p>{p.exists ? 'What it held was deleted or has reached its limit of age or number.' : 'It was never written to, or it was deleted. Names tell capital from small letters.'}</p>
      </Note>
    );
  }
  return (
    <>
      {p.metadata && <Part label="Metadata of the stream" value={p.metadata} />}
      <ol className={`card ${classes.events}`} aria-label={`Events of ${p.stream}, newest first`}>
        {p.events.map((e) => (
          <li key={standsAt(e)} className={classes.event} data-testid="event">
            <div className={classes.about}>
              <span className={`num ${classes.revision}`}>{group(standsAt(e))}</span>
              <strong>{e.type}</strong>
              <span title={dateTime(e.at)}>
                <Age at={e.at} sentence event />
              </span>
              {e.link && (
                <span>
                  links to {group(e.revision)} of{' '}
                  <button type="button" className={classes.name} onClick={() => onOpen(e.stream)}>
                    {e.stream}
                  </button>
                </span>
              )}
              <span className="mono">{e.id}</span>
            </div>
            <div>
              <Json value={e.data} />
              {e.metadata.bytes > 0 && <Part label="Metadata" value={e.metadata} />}
            </div>
          </li>
        ))}
      </ol>
      <div className={classes.pages}>
        <Button variant="default" size="xs" disabled={from === ''} onClick={() => onOpen(p.stream)}>
          Newest
        </Button>
        <Button variant="default" size="xs" disabled={older === null} onClick={() => older !== null && onOpen(p.stream, older)}>
          Older
        </Button>
        <span className="quiet">{older === null ? 'This is its beginning, as far as it is kept.' : ''}</span>
      </div>
    </>
  );
}

function Part({ label, value }: { label: string; value: EventText }) {
  return (
    <div>
      <p className={classes.label}>{label}</p>
      <Json value={value} />
    </div>
  );
}

function AppendDialog({ cluster, stream, onDone, onClose }: { cluster: string; stream: string; onDone: (stream: string) => void; onClose: () => void }) {
  const [name, setName] = useState(stream.startsWith('$') ? '' : stream);
  const [type, setType] = useState('');
  const [data, setData] = useState('{}');
  const append = useChange((body: Record<string, string>) => api.post(path('clusters', cluster, 'streams', 'events'), body), keys.streams(cluster));
  return (
    <ActionDialog
      title="Append an event"
      verb="Append"
      reason="optional"
      blocked={whyNotEvent(name, type, data)}
      cli={({ reason }) => cli.appendEvent(cluster, name.trim(), type.trim(), data, reason)}
      act={({ reason }) => append.mutateAsync({ stream: name.trim(), type: type.trim(), data, ...(reason && { reason }) })}
      onDone={() => onDone(name.trim())}
      onClose={onClose}
    >
      <p>For trying something. It is appended whatever revision the stream has, and stays: an event is not changed and not taken back.</p>
      <TextInput label="Stream" value={name} onChange={(e) => setName(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <TextInput label="Type" placeholder="order-placed" value={type} onChange={(e) => setType(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      <Textarea label="Data, JSON" autosize minRows={4} maxRows={14} value={data} onChange={(e) => setData(e.currentTarget.value)} spellCheck={false} styles={{ input: { fontFamily: 'var(--mono)' } }} />
    </ActionDialog>
  );
}

function DeleteDialog({ cluster, stream, onDone, onClose }: { cluster: string; stream: string; onDone: () => void; onClose: () => void }) {
  const remove = useChange((body: Record<string, string>) => api.post(path('clusters', cluster, 'streams', 'delete'), body), keys.streams(cluster));
  return (
    <ActionDialog title={`Delete ${stream}`} verb="Delete stream" danger typed={stream} reason="optional" cli={({ reason }) => cli.deleteStream(cluster, stream, reason)} act={({ typedName, reason }) => remove.mutateAsync({ stream, typedName, ...(reason && { reason }) })} onDone={onDone} onClose={onClose}>
      <Note tone="bad" title="Its events are gone for every reader">
        <p>Subscriptions that are behind do not get them any more. It may be written to again, and its revisions go on.</p>
      </Note>
    </ActionDialog>
  );
}
