import { ActionIcon, Button, Drawer, Menu, useMantineColorScheme } from '@mantine/core';
import { useDisclosure, useHotkeys } from '@mantine/hooks';
import { IconChevronUp, IconDeviceDesktop, IconKey, IconLogout, IconMenu2, IconMoon, IconSearch, IconSun, IconUserCircle } from '@tabler/icons-react';
import { Link, Outlet, useLocation, useMatches, useNavigate } from '@tanstack/react-router';
import { lazy, Suspense, useEffect, useState } from 'react';
import { has } from '../api/capabilities';
import { troubleFrom } from '../api/errors';
import { useFeed, useLive } from '../api/feed';
import type { ClusterSummary } from '../api/types';
import { ToneIcon } from '../components/Badges';
import { ErrorFace, Loading, Note } from '../components/Faces';
import { Logo } from '../components/Logo';
import { firing } from '../features/alerts/alerts';
import { useAlerts } from '../features/alerts/queries';
import { usePending } from '../features/approvals/queries';
import { useClusters } from '../features/clusters/queries';
import { controlSign, useControl } from '../features/settings/control';
import { useSession, useSetupState, useSignOut } from '../features/session/session';
import { useNow, useStale } from '../lib/clock';
import { age } from '../lib/format';
import { bySeverity, verdictTone, verdictWord } from '../lib/severity';
import { pages, type PageLink } from './pages';
import classes from './Shell.module.css';

const SearchDialog = lazy(() => import('../features/search/SearchDialog').then((m) => ({ default: m.SearchDialog })));

/** The frame of every page for people who are signed in. */
export function Shell() {
  const session = useSession();
  const setup = useSetupState(session.data === null);

  if (session.isPending || (session.data === null && setup.isPending)) {
    return (
      <div className={classes.wait}>
        <Logo size={30} />
        <Loading rows={3} label="Signing in" />
      </div>
    );
  }
  if (session.isError) {
    return (
      <div className={classes.wait}>
        <Logo size={30} />
        <ErrorFace trouble={troubleFrom(session.error)} onRetry={() => void session.refetch()} />
      </div>
    );
  }
  if (session.data === null) {
    return <Leave to={setup.data?.needsSetup ? '/setup' : '/sign-in'} />;
  }
  return <Frame username={session.data.username} role={session.data.role} />;
}

/**
 * Leads to the page for people who are not signed in, once. The frame stays
 * mounted until that page is loaded, and must not then take its address for
 * the one to come back to.
 */
function Leave({ to }: { to: '/setup' | '/sign-in' }) {
  const navigate = useNavigate();
  const [from] = useState(() => window.location.pathname + window.location.search);
  useEffect(() => {
    void navigate({ to, search: to === '/sign-in' && from !== '/' ? { next: from } : {}, replace: true });
  }, [navigate, to, from]);
  return null;
}

function Frame({ username, role }: { username: string; role: string }) {
  const [open, menu] = useDisclosure(false);
  const [searching, search] = useDisclosure(false);
  useHotkeys([['mod+K', search.open]], [], true);
  const feed = useFeed();
  const { pathname } = useLocation();
  useEffect(() => feed.hold(), [feed]);
  // Choosing a page closes the menu of small screens.
  useEffect(() => menu.close(), [pathname, menu.close]);
  return (
    <div className={classes.frame}>
      <a href="#content" className={classes.skip}>
        Skip to the content
      </a>
      <header className={classes.bar}>
        <ActionIcon variant="subtle" color="gray" size="lg" onClick={menu.open} aria-label="Open the menu" aria-expanded={open}>
          <IconMenu2 size={20} />
        </ActionIcon>
        <Link to="/clusters" className={classes.home} aria-label="Baton: clusters">
          <Logo size={24} />
        </Link>
        <ActionIcon variant="subtle" color="gray" size="lg" ml="auto" onClick={search.open} aria-label="Search">
          <IconSearch size={19} />
        </ActionIcon>
      </header>
      <div className={classes.side}>
        <Link to="/clusters" className={classes.home} aria-label="Baton: clusters">
          <Logo size={26} />
        </Link>
        <button type="button" className={classes.search} onClick={search.open} aria-keyshortcuts="Control+K Meta+K">
          <IconSearch size={16} aria-hidden />
          <span>Jump to…</span>
          <kbd>Ctrl K</kbd>
        </button>
        <Navigation />
        <Person username={username} role={role} />
      </div>
      <Drawer opened={open} onClose={menu.close} size={280} title={<Logo size={24} />} closeButtonProps={{ 'aria-label': 'Close the menu' }}>
        <div className={classes.drawer}>
          <Navigation />
          <Person username={username} role={role} />
        </div>
      </Drawer>
      {searching && (
        <Suspense fallback={null}>
          <SearchDialog onClose={search.close} />
        </Suspense>
      )}
      <main id="content" className={classes.main} tabIndex={-1}>
        <Lost />
        <Outlet />
      </main>
    </div>
  );
}

/** More clusters than this are not listed in the navigation; the page and the search have them all. */
const maxListed = 12;

function Navigation() {
  const clusters = useClusters();
  const inCluster = useMatches({ select: (all) => all.some((m) => m.routeId.startsWith('/shell/clusters/$id')) });
  const listed = bySeverity(clusters.data ?? []).slice(0, maxListed);
  const more = (clusters.data ?? []).length - listed.length;
  return (
    <nav className={classes.nav} aria-label="Main">
      {pages().map((p) => (
        <div key={p.to}>
          <Link to={p.to} className={classes.item} data-on={undefined} activeOptions={{ exact: p.to === '/clusters', includeSearch: false }} activeProps={{ 'data-on': true, 'aria-current': 'page' }}>
            <p.icon size={18} stroke={1.7} aria-hidden /> {p.label}
            <Count page={p} />
          </Link>
          {p.to === '/clusters' && listed.length > 0 && (
            <ul className={classes.list} data-in={inCluster || undefined}>
              {listed.map((c) => (
                <ClusterItem key={c.id} cluster={c} />
              ))}
              {more > 0 && (
                <li>
                  <Link to="/clusters" className={classes.item}>
                    {more} more
                  </Link>
                </li>
              )}
            </ul>
          )}
        </div>
      ))}
    </nav>
  );
}

/** What waits for someone on a page. */
function Count({ page }: { page: PageLink }) {
  const alerts = useAlerts();
  const pending = usePending();
  const on = firing(alerts.data?.alerts);
  if (page.to === '/alerts' && on.count > 0) {
    return (
      <span className={classes.count} data-tone={on.critical ? 'bad' : 'warn'}>
        {on.count}
        <span className="visually-hidden"> firing{on.critical ? ', critical' : ''}</span>
      </span>
    );
  }
  if (page.to === '/approvals' && pending > 0) {
    return (
      <span className={classes.count} data-tone="baton">
        {pending}
        <span className="visually-hidden"> waiting</span>
      </span>
    );
  }
  return null;
}

function ClusterItem({ cluster: c }: { cluster: ClusterSummary }) {
  const stale = useStale(c.observedAt);
  return (
    <li>
      <Link to="/clusters/$id" params={{ id: c.id }} className={classes.item} activeProps={{ 'data-on': true }}>
        <ToneIcon tone={stale ? 'unknown' : (verdictTone[c.verdict.level] ?? 'unknown')} size={15} />
        <span className={classes.name}>{c.name}</span>
        <span className="visually-hidden">{stale ? 'not seen lately' : verdictWord[c.verdict.level]}</span>
        {c.runningOperation && <span className={classes.running}>running</span>}
      </Link>
    </li>
  );
}

const schemes = [
  { value: 'auto', label: 'As the system', icon: IconDeviceDesktop },
  { value: 'light', label: 'Light', icon: IconSun },
  { value: 'dark', label: 'Dark', icon: IconMoon },
] as const;

function Person({ username, role }: { username: string; role: string }) {
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const signOut = useSignOut();
  return (
    <div className={classes.foot}>
      <ControlSign />
      <LiveSign />
      <Menu position="top-start" width={216} shadow="md">
        <Menu.Target>
          <Button variant="subtle" color="gray" fullWidth justify="flex-start" px={8} h={44} leftSection={<IconUserCircle size={20} stroke={1.6} />} rightSection={<IconChevronUp size={14} />} classNames={{ label: classes.personLabel }}>
            <span className={classes.person}>
              <span>{username}</span>
              <span className="faint">{role}</span>
              <span className="visually-hidden">: account and appearance</span>
            </span>
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Label>Appearance</Menu.Label>
          {schemes.map((s) => (
            <Menu.Item key={s.value} leftSection={<s.icon size={16} stroke={1.7} />} onClick={() => setColorScheme(s.value)} aria-current={colorScheme === s.value || undefined} fw={colorScheme === s.value ? 700 : 400}>
              {s.label}
            </Menu.Item>
          ))}
          <Menu.Divider />
          {(has('POST /me/password') || has('GET /tokens')) && (
            <Menu.Item component={Link} to="/account" leftSection={<IconKey size={16} stroke={1.7} />}>
              Password and tokens
            </Menu.Item>
          )}
          <Menu.Item leftSection={<IconLogout size={16} stroke={1.7} />} onClick={() => signOut.mutate()}>
            Sign out
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </div>
  );
}

/** How many control nodes answer, who leads them, in which term. */
function ControlSign() {
  const control = useControl();
  if (!control.data) return null;
  const sign = controlSign(control.data);
  return (
    <Link to="/settings" hash="control" className={classes.control} data-tone={sign.tone} title={control.data.sentence}>
      <ToneIcon tone={sign.tone} size={14} />
      <span>
        Control plane {sign.up} of {sign.total}
        <span className="faint">{sign.leader}</span>
      </span>
    </Link>
  );
}

function LiveSign() {
  const state = useLive();
  return (
    <p className={classes.live} data-state={state} role="status">
      <span className={classes.pulse} aria-hidden="true" />
      {state === 'live' ? 'Live' : state === 'connecting' ? 'Connecting…' : 'Not live: reconnecting…'}
    </p>
  );
}

/** Says on every page that what is shown is old, how old, and what that means for the clusters. */
function Lost() {
  const state = useLive();
  const feed = useFeed();
  const now = useNow();
  if (state !== 'reconnecting') return null;
  const heard = feed.getStatus().lastHeardAt;
  const old = heard === 0 ? null : Math.max(0, now - heard);
  return (
    <div className={classes.lost}>
      <Note tone="warn" title={old === null ? 'No live connection to the control plane' : `No connection to the control plane for ${age(old)}`}>
        <p>{old === null ? 'News do not come through.' : 'What you see is from before that.'} Your clusters run without the control plane; this page reconnects by itself.</p>
      </Note>
    </div>
  );
}
