import { Button } from '@mantine/core';
import { IconChevronLeft } from '@tabler/icons-react';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { Empty, Note } from '../../components/Faces';
import { Facts, Panel } from '../../components/Page';
import { count, group } from '../../lib/format';
import { useCluster } from '../clusters/queries';
import { may, useRole } from '../session/session';
import { StoreFaces } from './Login';
import { useSubscription, useSubscriptions } from './queries';
import { behind, strategies, streamName, subscriptionsSentence, subscriptionState } from './store';
import classes from './Store.module.css';
import { DeleteSubscription, EditSubscription, NewSubscription, ReplayParked } from './SubscriptionDialogs';
import type { Subscription, SubscriptionConsumer, SubscriptionDetail } from './types';

const route = getRouteApi('/shell/clusters/$id');

/** Persistent subscriptions: who is behind, what is parked, and what can be done about it. */
export function SubscriptionsTab() {
  const { id } = route.useParams();
  const { stream = '', group: name = '' } = route.useSearch();
  const navigate = useNavigate();
  const { data: cluster } = useCluster(id);
  if (!cluster) return null;
  const open = (s?: { stream: string; group: string }) => void navigate({ to: '.', search: (old) => ({ ...old, stream: s?.stream, group: s?.group }), resetScroll: false });
  return <div className={classes.page}>{stream && name ? <One cluster={id} stream={stream} group={name} onOpen={open} /> : <All cluster={id} onOpen={open} />}</div>;
}

type Open = (s?: { stream: string; group: string }) => void;

function All({ cluster, onOpen }: { cluster: string; onOpen: Open }) {
  const list = useSubscriptions(cluster);
  const role = useRole();
  const [making, setMaking] = useState(false);
  const make = may.operate(role) && has('POST /clusters/{id}/subscriptions') && list.data !== undefined && (
    <Button variant="default" onClick={() => setMaking(true)}>
      New subscription
    </Button>
  );
  const columns: Column<Subscription>[] = [
    {
      head: 'Subscription',
      cell: (s) => (
        <>
          <button type="button" className={classes.name} onClick={() => onOpen(s)}>
            {s.group}
          </button>
          <Under>of {streamName(s.stream)}</Under>
        </>
      ),
    },
    { head: 'State', cell: (s) => <State subscription={s} /> },
    { head: 'Behind', cell: (s) => behind(s), kind: 'num' },
    { head: 'In flight', cell: (s) => group(s.inFlight), kind: 'num' },
    {
      head: 'Parked',
      cell: (s) => (
        <>
          {group(s.parked)}
          {s.oldestParked && (
            <Under>
              oldest <Age at={s.oldestParked} sentence event />
            </Under>
          )}
        </>
      ),
      kind: 'num',
    },
    { head: 'Consumers', cell: (s) => s.consumers, kind: 'num' },
    { head: 'Events per second', cell: (s) => group(s.perSecond), kind: 'num' },
  ];
  return (
    <>
      <StoreFaces cluster={cluster} query={list} label="Reading the subscriptions" rows={4}>
        {(l) =>
          l.subscriptions.length === 0 ? (
            <Empty title="There is no persistent subscription">
              <p className="quiet">Several consumers share the events of a stream through one: each event is handled by one of them, and what fails is sent again or parked. Clients make them too.</p>
              {make}
            </Empty>
          ) : (
            <>
              <div className={classes.tools}>
                <p className="quiet">{subscriptionsSentence(l.subscriptions)}</p>
                {make}
              </div>
              <DataTable caption="Persistent subscriptions, by stream" columns={columns} rows={l.subscriptions} keyOf={(s) => `${s.stream} ${s.group}`} testId={(s) => `subscription-${s.group}`} />
            </>
          )
        }
      </StoreFaces>
      {making && <NewSubscription cluster={cluster} onClose={() => setMaking(false)} onDone={(s) => (setMaking(false), onOpen(s))} />}
    </>
  );
}

function State({ subscription: s }: { subscription: Subscription }) {
  const { tone, word } = subscriptionState(s);
  return <StatusBadge tone={tone}>{word}</StatusBadge>;
}

function One({ cluster, stream, group: name, onOpen }: { cluster: string; stream: string; group: string; onOpen: Open }) {
  const one = useSubscription(cluster, stream, name);
  const role = useRole();
  const [dialog, setDialog] = useState<'edit' | 'replay' | 'delete' | null>(null);
  const close = () => setDialog(null);
  const operate = may.operate(role) && one.data !== undefined;
  return (
    <Panel
      title={name}
      lead={`Shares the events of ${streamName(stream)} among its consumers.`}
      aside={
        <>
          <Button variant="default" size="xs" leftSection={<IconChevronLeft size={14} />} onClick={() => onOpen()}>
            All subscriptions
          </Button>
          {operate && has('PUT /clusters/{id}/subscriptions') && (
            <Button variant="default" size="xs" onClick={() => setDialog('edit')}>
              Settings…
            </Button>
          )}
          {operate && has('POST /clusters/{id}/subscriptions/replay') && one.data?.subscription.parked !== '0' && (
            <Button variant="default" size="xs" onClick={() => setDialog('replay')}>
              Replay parked…
            </Button>
          )}
          {may.administer(role) && one.data && has('POST /clusters/{id}/subscriptions/delete') && (
            <Button variant="subtle" color="bad" size="xs" onClick={() => setDialog('delete')}>
              Delete…
            </Button>
          )}
        </>
      }
    >
      <StoreFaces cluster={cluster} query={one} label={`Reading ${name}`} rows={3} height={90}>
        {(d) => <Body detail={d} />}
      </StoreFaces>
      {dialog === 'edit' && one.data && <EditSubscription cluster={cluster} detail={one.data} onClose={close} />}
      {dialog === 'replay' && one.data && <ReplayParked cluster={cluster} subscription={one.data.subscription} onClose={close} />}
      {dialog === 'delete' && one.data && <DeleteSubscription cluster={cluster} subscription={one.data.subscription} onClose={close} onDone={() => (close(), onOpen())} />}
    </Panel>
  );
}

function Body({ detail: d }: { detail: SubscriptionDetail }) {
  const s = d.subscription;
  const set = d.settings;
  const columns: Column<SubscriptionConsumer>[] = [
    { head: 'Consumer', cell: (c) => <>{c.name || 'without a name'}<Under>{c.from}{c.user && ` as ${c.user}`}</Under></> },
    { head: 'In flight', cell: (c) => group(c.inFlight), kind: 'num' },
    { head: 'Room for', cell: (c) => group(c.free), kind: 'num' },
    { head: 'Sent', cell: (c) => group(c.total), kind: 'num' },
    { head: 'Events per second', cell: (c) => group(c.perSecond), kind: 'num' },
  ];
  const waiting = s.consumers === 0 && subscriptionState(s).word === 'No consumer';
  return (
    <>
      {waiting && (
        <Note tone="warn" title="Nobody listens">
          <p>Events wait until a consumer connects to {s.group}.</p>
        </Note>
      )}
      {s.state === 'faulted' && (
        <Note tone="bad" title="The event store cannot run it">
          <p>Its consumers were dropped. The log of the node that leads says why; a change of its settings starts it anew.</p>
        </Note>
      )}
      <Facts
        facts={[
          ['State', <State key="s" subscription={s} />],
          ['Behind', behind(s)],
          ['In flight', `${group(s.inFlight)}, ${group(s.retrying)} to be sent again`],
          ['Read and not handled', group(s.outstanding)],
          ['Parked', s.oldestParked ? <span key="p">{group(s.parked)}, oldest <Age at={s.oldestParked} sentence event /></span> : group(s.parked)],
          ['Sent', `${group(s.total)}, ${group(s.perSecond)} a second`],
          ['Checkpoint', s.checkpoint || 'None yet'],
          ['Newest event', s.known || 'There is none'],
        ]}
      />
      <section className={classes.part} aria-label="Consumers">
        <h3>{count(d.consumers.length, 'consumer')}</h3>
        {d.consumers.length === 0 ? <p className="quiet">A client connects with the names of stream and subscription.</p> : <DataTable caption="Consumers" columns={columns} rows={d.consumers} keyOf={(c) => `${c.from} ${c.name}`} />}
      </section>
      <section className={classes.part} aria-label="Settings">
        <h3>Settings</h3>
        <Facts
          facts={[
            ['Strategy', strategies.find((x) => x.value === set.strategy)?.title ?? set.strategy],
            ['Begins at', d.from === 'start' ? 'The first event' : d.from === 'end' ? 'What came after it was made' : d.from],
            ['Answer within', set.messageTimeoutMs === 0 ? 'any time' : `${group(set.messageTimeoutMs)} ms`],
            ['Sent again', `${group(set.maxRetries)} times, then parked`],
            ['Consumers at most', set.maxSubscribers === 0 ? 'Any number' : group(set.maxSubscribers)],
            ['Checkpoint', `after ${group(set.checkpointAfterMs)} ms, ${group(set.minCheckpoint)} to ${group(set.maxCheckpoint)} events`],
            ['Links', set.resolveLinks ? 'What they lead to is sent' : 'Sent as they are'],
            ['Buffers', `${group(set.liveBuffer)} live, ${group(set.historyBuffer)} of history, read by ${group(set.readBatch)}`],
            ['Times by consumer', set.extraStatistics ? 'Measured' : 'Not measured'],
          ]}
        />
      </section>
    </>
  );
}
