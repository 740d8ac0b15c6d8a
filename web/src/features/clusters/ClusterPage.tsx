import { Button, Menu } from '@mantine/core';
import { IconArrowsExchange, IconChevronDown } from '@tabler/icons-react';
import { getRouteApi, Link, Outlet, useMatchRoute, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useState } from 'react';
import { has } from '../../api/capabilities';
import { useWatch } from '../../api/feed';
import type { ClusterDetail } from '../../api/types';
import { Age, Dated } from '../../components/Age';
import { isLead, RoleBadge, StatusBadge, ToneIcon } from '../../components/Badges';
import { ErrorFace, Loading } from '../../components/Faces';
import { Guarded } from '../../components/Guarded';
import { BatonGlyph } from '../../components/Logo';
import { useTrouble } from '../../components/QueryFaces';
import { Sparkline } from '../../components/Sparkline';
import { useStale } from '../../lib/clock';
import { bytes, rate, sentenceCase, toNumber } from '../../lib/format';
import { splitVerdict, verdictTone } from '../../lib/severity';
import { FailsafeNote } from '../failover/FailsafeNote';
import { NoPrimaryNote } from '../failover/NoPrimaryNote';
import { OperationPanel } from '../operations/OperationPanel';
import { bareReason } from '../report/report';
import { mayPromote, useSession } from '../session/session';
import { engineName, leadWord } from './engine';
import classes from './ClusterPage.module.css';
import { useCluster } from './queries';

const PromoteDialog = lazy(() => import('../promote/PromoteDialog').then((m) => ({ default: m.PromoteDialog })));
const NodeDrawer = lazy(() => import('../nodes/NodeDrawer').then((m) => ({ default: m.NodeDrawer })));

const route = getRouteApi('/shell/clusters/$id');

export function ClusterPage() {
  const { id } = route.useParams();
  const search = route.useSearch();
  const navigate = useNavigate();
  const match = useMatchRoute();
  useWatch(id);
  const cluster = useCluster(id);
  const trouble = useTrouble(cluster);

  // The operation on top of the page: the one in the URL, else the one that
  // was seen running. It stays after it ended, so that the result is read.
  const running = cluster.data?.runningOperation ?? null;
  const [followed, setFollowed] = useState<{ cluster: string; op: string } | null>(null);
  if (running !== null && (followed?.op !== running || followed.cluster !== id)) setFollowed({ cluster: id, op: running });
  const op = search.op ?? (followed?.cluster === id ? followed.op : null);
  const onOperationPage = !!match({ to: '/clusters/$id/operations/$op', params: { id } });

  if (cluster.data === undefined) {
    return (
      <>
        <Crumbs name={id} />
        {trouble ? <ErrorFace trouble={trouble} retrying={cluster.isFetching} onRetry={() => void cluster.refetch()} /> : <Outline />}
        {trouble?.status === 404 && (
          <p className={classes.elsewhere}>
            <Link to="/clusters">All clusters</Link>
          </p>
        )}
      </>
    );
  }
  const c = cluster.data;
  const patch = (change: Record<string, string | undefined>) =>
    void navigate({ to: '.', search: (old) => ({ ...old, ...change }), replace: true, resetScroll: false });
  return (
    <>
      <title>{`${c.name} · Baton`}</title>
      <Crumbs name={c.name} />
      <FailsafeNote cluster={c} />
      <NoPrimaryNote cluster={c} />
      {op !== null && !onOperationPage ? (
        <OperationPanel
          id={op}
          cluster={c.id}
          onClose={() => {
            setFollowed(null);
            patch({ op: undefined });
          }}
          onSwitchBack={(node) => patch({ promote: node, undo: op })}
        />
      ) : (
        !onOperationPage && <Head cluster={c} onPromote={(node) => patch({ promote: node })} />
      )}
      <nav ref={showPresent} className={classes.tabs} aria-label={`${c.name}: views`}>
        <Tab to="/clusters/$id" id={id} exact>
          Overview
        </Tab>
        <Tab to="/clusters/$id/nodes" id={id}>
          Nodes <span className={classes.n}>{c.nodes?.length ?? 0}</span>
        </Tab>
        {has('GET /clusters/{id}/streams') && c.engine === 'eventstore' && (
          <Tab to="/clusters/$id/streams" id={id}>
            Streams
          </Tab>
        )}
        {has('GET /clusters/{id}/subscriptions') && c.engine === 'eventstore' && (
          <Tab to="/clusters/$id/subscriptions" id={id}>
            Subscriptions
          </Tab>
        )}
        {has('GET /clusters/{id}/projections') && c.engine === 'eventstore' && (
          <Tab to="/clusters/$id/projections" id={id}>
            Projections
          </Tab>
        )}
        {has('GET /clusters/{id}/store-users') && c.engine === 'eventstore' && (
          <Tab to="/clusters/$id/users" id={id}>
            Users
          </Tab>
        )}
        {has('GET /clusters/{id}/backups') && c.engine !== 'eventstore' && (
          <Tab to="/clusters/$id/backups" id={id}>
            Backups
          </Tab>
        )}
        {has('POST /terminal/tickets') && (
          <Tab to="/clusters/$id/terminal" id={id}>
            Terminal
          </Tab>
        )}
        <Tab to="/clusters/$id/audit" id={id}>
          Audit
        </Tab>
        {has('GET /clusters/{id}/settings') && c.engine !== 'eventstore' && (
          <Tab to="/clusters/$id/settings" id={id}>
            Settings
          </Tab>
        )}
      </nav>
      <Outlet />
      <Suspense fallback={null}>
        {search.node && <NodeDrawer cluster={c} name={search.node} onClose={() => patch({ node: undefined })} onPromote={(node) => patch({ node: undefined, promote: node })} />}
        {search.promote && (
          <PromoteDialog
            cluster={c}
            node={search.promote}
            undoOf={search.undo ?? null}
            onClose={() => patch({ promote: undefined, undo: undefined })}
            onStarted={(started) => patch({ promote: undefined, undo: undefined, op: started })}
          />
        )}
      </Suspense>
    </>
  );
}

/** On small screens the row of tabs scrolls: the present one is brought into sight. */
function showPresent(tabs: HTMLElement | null) {
  const on = tabs?.querySelector<HTMLElement>('[aria-current=page]');
  if (tabs && on) tabs.scrollLeft = on.offsetLeft - (tabs.clientWidth - on.clientWidth) / 2;
}

function Crumbs({ name }: { name: string }) {
  return (
    <nav className={classes.crumbs} aria-label="Breadcrumb">
      <Link to="/clusters">Clusters</Link> <span aria-hidden="true">/</span> <span>{name}</span>
    </nav>
  );
}

/** The page's outline while it loads: what comes stands where it will stand. */
function Outline() {
  return (
    <div className={classes.outline}>
      <Loading rows={1} height={36} label="Loading the cluster" />
      <Loading rows={1} height={54} label="Loading its figures" />
      <Loading rows={1} height={300} label="Loading its nodes" />
    </div>
  );
}

function Tab({ to, id, exact = false, children }: { to: '/clusters/$id' | '/clusters/$id/nodes' | '/clusters/$id/backups' | '/clusters/$id/terminal' | '/clusters/$id/streams' | '/clusters/$id/subscriptions' | '/clusters/$id/projections' | '/clusters/$id/users' | '/clusters/$id/audit' | '/clusters/$id/settings'; id: string; exact?: boolean; children: React.ReactNode }) {
  return (
    <Link
      to={to}
      params={{ id }}
      search={(old: Record<string, unknown>) => (old.op ? { op: String(old.op) } : {})}
      className={classes.tab}
      activeOptions={{ exact, includeSearch: false }}
      activeProps={{ 'data-on': true, 'aria-current': 'page' }}
      resetScroll={false}
    >
      {children}
    </Link>
  );
}

function Head({ cluster: c, onPromote }: { cluster: ClusterDetail; onPromote: (node: string) => void }) {
  const stale = useStale(c.observedAt);
  const tone = stale ? 'unknown' : (verdictTone[c.verdict.level] ?? 'unknown');
  const { word, rest, mark } = splitVerdict(c.verdict.level, c.verdict.sentence);
  return (
    <header className={classes.head}>
      <div className={classes.verdict} data-tone={tone}>
        <ToneIcon tone={tone} size={30} />
        <div>
          <h1 data-testid="verdict">
            <span className={classes.word}>
              {stale && 'Last known: '}
              {word}
              {mark}
            </span>{' '}
            {rest}
          </h1>
          <p className="quiet">
            {c.name}, {engineName(c.engine)} {c.version}
            {c.durability ? `. ${c.durability}` : ''}
          </p>
        </div>
        <PromoteMenu cluster={c} onPromote={onPromote} />
      </div>
      <dl className={classes.facts}>
        <div>
          <dt>{leadWord(c.engine) === 'leader' ? 'Leader' : 'Primary'}</dt>
          <dd data-testid="primary">
            {c.primary ? (
              <Dated at={c.observedAt} className={classes.primary}>
                <BatonGlyph size={16} />
                {c.primary.node}
                {c.primary.location && <span className={classes.location}>{c.primary.location}</span>}
              </Dated>
            ) : (
              <StatusBadge tone="bad">None</StatusBadge>
            )}
          </dd>
        </div>
        <div>
          <dt>Members up</dt>
          <dd className="num">
            <Dated at={c.observedAt}>
              {c.membersUp} of {c.membersTotal}
            </Dated>
          </dd>
        </div>
        <div>
          <dt>Worst lag</dt>
          <dd className="num">
            <Dated at={c.observedAt}>{toNumber(c.worstLagBytes) === 0 ? 'None' : bytes(c.worstLagBytes)}</Dated>
          </dd>
        </div>
        <div>
          <dt>Writes per second</dt>
          <dd className={`num ${classes.writes}`}>
            <Dated at={c.observedAt}>{rate(c.writesPerSecond)}</Dated>
            <Sparkline values={c.writesHistory} width={120} height={26} label="Writes per second, last minute" />
          </dd>
        </div>
        <div>
          <dt>Last role change</dt>
          <dd>{c.lastRoleChange ? <Age at={c.lastRoleChange.at} sentence event /> : <span className="faint">None recorded</span>}</dd>
        </div>
        <div>
          <dt>Observed</dt>
          <dd>
            <Age at={c.observedAt} sentence />
          </dd>
        </div>
      </dl>
    </header>
  );
}

function PromoteMenu({ cluster: c, onPromote }: { cluster: ClusterDetail; onPromote: (node: string) => void }) {
  const session = useSession();
  const nodes = c.nodes.filter((n) => !isLead(n.role));
  if (nodes.length === 0) return null;
  if (!mayPromote(session.data?.role)) {
    return (
      <Guarded className={classes.promote} size="md" leftSection={<IconArrowsExchange size={18} />} why="Your role may look, not promote. Ask an administrator for the role operator." onClick={() => {}}>
        Promote
      </Guarded>
    );
  }
  return (
    <Menu position="bottom-end" width={340} shadow="md">
      <Menu.Target>
        <Button className={classes.promote} size="md" leftSection={<IconArrowsExchange size={18} />} rightSection={<IconChevronDown size={16} />}>
          Promote
        </Button>
      </Menu.Target>
      <Menu.Dropdown className={classes.nodes}>
        <Menu.Label>Which node shall be the {leadWord(c.engine)}?</Menu.Label>
        {nodes.map((n) => (
          <Menu.Item key={n.name} onClick={() => onPromote(n.name)}>
            <span className={classes.choice}>
              <strong>{n.name}</strong>
              <RoleBadge role={n.role} />
            </span>
            <span className={classes.reason} data-tone={n.promotable.ok ? 'ok' : 'warn'}>
              <ToneIcon tone={n.promotable.ok ? 'ok' : 'warn'} size={14} />
              {n.promotable.ok ? ['Promotable', bareReason(n.promotable.reason)].filter(Boolean).join(', ') : sentenceCase(bareReason(n.promotable.reason))}
            </span>
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  );
}
