import { Button, TextInput } from '@mantine/core';
import { IconArrowRight, IconPlus, IconSearch } from '@tabler/icons-react';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import type { BackupSummary, ClusterSummary } from '../../api/types';
import { Age, Dated } from '../../components/Age';
import { StatusBadge, ToneIcon } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { Empty, ErrorFace, Loading } from '../../components/Faces';
import { BatonGlyph } from '../../components/Logo';
import { Pills } from '../../components/Page';
import { useTrouble } from '../../components/QueryFaces';
import { Sparkline } from '../../components/Sparkline';
import { cli } from '../../lib/cli';
import { useStale } from '../../lib/clock';
import { bytes, count, rate, toNumber } from '../../lib/format';
import { bySeverity, splitVerdict, tally, verdictTone } from '../../lib/severity';
import { useBackups } from '../backups/queries';
import { may, useRole } from '../session/session';
import classes from './ClusterListPage.module.css';
import { engineName } from './engine';
import { useClusters } from './queries';

const route = getRouteApi('/shell/clusters');

export function ClusterListPage() {
  const clusters = useClusters();
  const trouble = useTrouble(clusters);
  return (
    <>
      <title>Clusters · Baton</title>
      <header className={classes.head}>
        <h1>Clusters</h1>
        {clusters.data && clusters.data.length > 0 && <Strip clusters={clusters.data} />}
        <NewButtons />
      </header>
      {trouble ? (
        <ErrorFace trouble={trouble} retrying={clusters.isFetching} onRetry={() => void clusters.refetch()} />
      ) : clusters.data === undefined ? (
        <Loading rows={3} height={84} label="Loading the clusters" />
      ) : clusters.data.length === 0 ? (
        <QuickStart />
      ) : (
        <Filtered clusters={bySeverity(clusters.data)} />
      )}
    </>
  );
}

/** Fewer clusters than this are read at a glance. */
const filterFrom = 9;

/** The list, and above a long one what narrows it. */
function Filtered({ clusters }: { clusters: ClusterSummary[] }) {
  const { q: asked = '', only } = route.useSearch();
  const navigate = useNavigate();
  // The address follows a moment after the key.
  const [q, setQ] = useState(asked);
  const show = (change: { q?: string; only?: 'trouble' }) => {
    if ('q' in change) setQ(change.q ?? '');
    void navigate({ to: '/clusters', search: (old) => ({ ...old, ...change }), replace: true, resetScroll: false });
  };
  if (clusters.length < filterFrom && q === '' && only === undefined) return <List clusters={clusters} />;
  const found = clusters.filter((c) => (only === undefined || c.verdict.level !== 'healthy') && matches(c, q));
  return (
    <>
      <div className={classes.filters}>
        <TextInput size="xs" aria-label="Only clusters with this in their name, engine or primary" placeholder="Name, engine or primary" leftSection={<IconSearch size={15} aria-hidden />} value={q} onChange={(e) => show({ q: e.currentTarget.value || undefined })} />
        <Pills label="Which clusters" value={only ?? 'all'} onChange={(v) => show({ only: v === 'trouble' ? 'trouble' : undefined })} options={[{ value: 'all', label: 'All' }, { value: 'trouble', label: 'Not healthy' }]} />
        <span className="faint" role="status">
          {found.length === clusters.length ? count(clusters.length, 'cluster') : `${found.length} of ${count(clusters.length, 'cluster')}`}
        </span>
      </div>
      {found.length > 0 ? (
        <List clusters={found} />
      ) : (
        <Empty title={q === '' ? 'Every cluster is healthy' : `No cluster has “${q}” in its name, engine or primary`}>
          <Button variant="default" onClick={() => show({ q: undefined, only: undefined })}>
            Show all
          </Button>
        </Empty>
      )}
    </>
  );
}

function matches(c: ClusterSummary, q: string): boolean {
  const part = q.trim().toLowerCase();
  return [c.name, engineName(c.engine), c.primary?.node ?? ''].some((t) => t.toLowerCase().includes(part));
}

/** The two ways to a further cluster. */
function NewButtons() {
  const role = useRole();
  if (!may.operate(role)) return null;
  return (
    <span className={classes.new}>
      {has('POST /clusters/adopt') && (
        <Button component={Link} to="/clusters/adopt" variant="default" size="xs">
          Adopt a cluster
        </Button>
      )}
      {has('POST /clusters') && (
        <Button component={Link} to="/clusters/new" size="xs" leftSection={<IconPlus size={15} />}>
          Create a cluster
        </Button>
      )}
    </span>
  );
}

/** One line that answers "is anything wrong?" before the table is read. */
function Strip({ clusters }: { clusters: ClusterSummary[] }) {
  const t = tally(clusters);
  return (
    <p className={classes.strip} aria-label="Summary">
      {t.down > 0 && <StatusBadge tone="bad">{t.down} down</StatusBadge>}
      {t.risk > 0 && <StatusBadge tone="warn">{t.risk} at risk</StatusBadge>}
      {t.unknown > 0 && <StatusBadge tone="unknown">{t.unknown} unknown</StatusBadge>}
      {t.healthy > 0 && <StatusBadge tone="ok">{t.healthy === clusters.length ? 'All healthy' : `${t.healthy} healthy`}</StatusBadge>}
    </p>
  );
}

function List({ clusters }: { clusters: ClusterSummary[] }) {
  const backups = useBackups();
  const known = has('GET /backups') ? (backups.data?.clusters ?? []) : null;
  return (
    <div className={`card ${classes.table}`} role="table" aria-label="Clusters, worst first" data-backups={known !== null || undefined}>
      <div className={classes.header} role="row">
        <span role="columnheader">Cluster</span>
        <span role="columnheader">Primary</span>
        <span role="columnheader">Members</span>
        <span role="columnheader">Worst lag</span>
        <span role="columnheader">Writes per second</span>
        <span role="columnheader">Last role change</span>
        {known !== null && <span role="columnheader">Newest backup</span>}
        <span role="columnheader" className="visually-hidden">
          Observed
        </span>
      </div>
      {clusters.map((c) => (
        <Row key={c.id} cluster={c} backup={known === null ? undefined : (known.find((b) => b.cluster === c.id || b.cluster === c.name) ?? null)} />
      ))}
    </div>
  );
}

function Row({ cluster: c, backup }: { cluster: ClusterSummary; backup?: BackupSummary | null }) {
  const stale = useStale(c.observedAt);
  const tone = stale ? 'unknown' : (verdictTone[c.verdict.level] ?? 'unknown');
  const { word, rest, mark } = splitVerdict(c.verdict.level, c.verdict.sentence);
  return (
    <div className={classes.row} role="row" data-tone={tone}>
      <div className={classes.cluster} role="cell">
        <ToneIcon tone={tone} size={20} />
        <div>
          <div className={classes.title}>
            <Link to="/clusters/$id" params={{ id: c.id }} className={classes.link}>
              {c.name}
            </Link>
            <span className="faint">
              {engineName(c.engine)} {c.version}
            </span>
          </div>
          <p className={classes.verdict}>
            <strong>
              {stale && 'Last known: '}
              {word}
              {mark}
            </strong>{' '}
            {rest}
          </p>
          {c.runningOperation && (
            <p className={classes.operation}>
              <BatonGlyph size={13} /> Operation running
            </p>
          )}
        </div>
      </div>
      <div role="cell" data-label="Primary" className={classes.narrow}>
        {c.primary ? (
          <Dated at={c.observedAt} className={classes.primary}>
            <BatonGlyph size={15} />
            <span title={c.primary.node}>
              {c.primary.node}
              <span className={`faint ${classes.under}`}>{c.primary.location}</span>
            </span>
          </Dated>
        ) : (
          <StatusBadge tone="bad">No primary</StatusBadge>
        )}
      </div>
      <div role="cell" data-label="Members" className="num">
        <Dated at={c.observedAt}>
          <span className={c.membersUp < c.membersTotal ? classes.missing : undefined}>
            {c.membersUp} of {c.membersTotal} up
          </span>
        </Dated>
      </div>
      <div role="cell" data-label="Worst lag" className="num">
        <Dated at={c.observedAt}>{toNumber(c.worstLagBytes) === 0 ? 'None' : bytes(c.worstLagBytes)}</Dated>
      </div>
      <div role="cell" data-label="Writes per second" className={classes.writes}>
        <Dated at={c.observedAt} className="num">
          {rate(c.writesPerSecond)}
        </Dated>
        <Sparkline values={c.writesHistory} label={`${c.name}, writes per second, last minute`} />
      </div>
      <div role="cell" data-label="Last role change">
        {c.lastRoleChange ? (
          <span>
            <Age at={c.lastRoleChange.at} sentence event />
            <span className={`faint ${classes.under}`}>{c.lastRoleChange.sentence}</span>
          </span>
        ) : (
          <span className="faint">None recorded</span>
        )}
      </div>
      {backup !== undefined && (
        <div role="cell" data-label="Newest backup">
          {backup?.newest ? (
            <Link to="/clusters/$id/backups" params={{ id: c.id }} className={classes.over}>
              <Age at={backup.newest} sentence event />
              <span className={`faint ${classes.under}`}>{backup.verified === backup.newest ? 'verified' : backup.verified ? 'not verified yet' : 'never verified'}</span>
            </Link>
          ) : (
            <span className="faint">{c.engine === 'eventstore' ? '–' : 'None yet'}</span>
          )}
        </div>
      )}
      <div role="cell" className={classes.end}>
        <span className={classes.seen}>
          seen <Age at={c.observedAt} sentence />
        </span>
      </div>
    </div>
  );
}

const steps = [
  { command: cli.up(), why: 'Starts a five-node event store, and Redis where it is installed, each under a light load.' },
  { command: cli.clusters(), why: 'Shows them in the terminal, as this page will.' },
  { command: cli.promote('demo', 'demo-2', { 'dry-run': true }), why: 'Prints the report and the plan of a promotion, and changes nothing.' },
];

function QuickStart() {
  return (
    <Empty title="No clusters yet. Three commands to the first one:">
      <ol className={classes.steps}>
        {steps.map((s, i) => (
          <li key={s.command}>
            <span className={classes.no}>{i + 1}</span>
            <div>
              <Command value={s.command} prompt label={`Copy: ${s.command}`} />
              <p className="quiet">{s.why}</p>
            </div>
          </li>
        ))}
      </ol>
      <p className="quiet">
        They appear here by themselves as soon as an agent reports them <IconArrowRight size={14} aria-hidden style={{ verticalAlign: -2 }} /> no reload needed.
      </p>
    </Empty>
  );
}
