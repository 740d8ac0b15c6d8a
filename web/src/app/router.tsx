import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Navigate, Outlet, type RouterHistory } from '@tanstack/react-router';
import { BrokenPage } from './BrokenPage';
import { NotFoundPage } from './NotFoundPage';
import { Shell } from './Shell';

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFoundPage });

const setup = createRoute({
  getParentRoute: () => root,
  path: '/setup',
  component: lazyRouteComponent(() => import('../features/session/SetupPage'), 'SetupPage'),
});

const setPassword = createRoute({
  getParentRoute: () => root,
  path: '/set-password',
  component: lazyRouteComponent(() => import('../features/session/SetPasswordPage'), 'SetPasswordPage'),
});

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: (s: Record<string, unknown>): { next?: string } => {
    // Only a path of this page: a foreign address in the link must lead nowhere.
    const next = typeof s.next === 'string' && /^\/(?![/\\])/.test(s.next) ? s.next : undefined;
    return next ? { next } : {};
  },
  component: lazyRouteComponent(() => import('../features/session/SignInPage'), 'SignInPage'),
});

const shell = createRoute({ getParentRoute: () => root, id: 'shell', component: Shell });

const home = createRoute({
  getParentRoute: () => shell,
  path: '/',
  component: () => <Navigate to="/clusters" replace />,
});

const clusters = createRoute({
  getParentRoute: () => shell,
  path: '/clusters',
  validateSearch: (s: Record<string, unknown>): ClustersSearch => ({ ...(text(s.q) && { q: text(s.q) }), ...(s.only === 'trouble' && { only: 'trouble' as const }) }),
  component: lazyRouteComponent(() => import('../features/clusters/ClusterListPage'), 'ClusterListPage'),
});

const hosts = createRoute({
  getParentRoute: () => shell,
  path: '/hosts',
  component: lazyRouteComponent(() => import('../features/hosts/HostsPage'), 'HostsPage'),
});

/** A page of the frame, loaded when it is first opened. */
const page = <P extends string>(path: P, load: Parameters<typeof lazyRouteComponent>[0], name: string) =>
  createRoute({ getParentRoute: () => shell, path, component: lazyRouteComponent(load, name) });

const newCluster = page('/clusters/new', () => import('../features/wizard/CreatePage'), 'CreatePage');
const adopt = page('/clusters/adopt', () => import('../features/wizard/AdoptPage'), 'AdoptPage');
const backupsOfAll = page('/backups', () => import('../features/backups/BackupsPage'), 'BackupsPage');
const alerts = page('/alerts', () => import('../features/alerts/AlertsPage'), 'AlertsPage');
const approvals = page('/approvals', () => import('../features/approvals/ApprovalsPage'), 'ApprovalsPage');
const users = page('/users', () => import('../features/users/UsersPage'), 'UsersPage');
const settingsOfAll = page('/settings', () => import('../features/settings/SettingsPage'), 'SettingsPage');
const account = page('/account', () => import('../features/account/AccountPage'), 'AccountPage');

const activity = createRoute({
  getParentRoute: () => shell,
  path: '/activity',
  validateSearch: (s: Record<string, unknown>): ActivitySearch => {
    const all: ActivitySearch = { cluster: text(s.cluster), who: text(s.who), outcome: text(s.outcome), kind: text(s.kind), row: text(s.row) };
    return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
  },
  component: lazyRouteComponent(() => import('../features/activity/ActivityPage'), 'ActivityPage'),
});

/** What the activity page shows only; all of it lives in the URL. */
export interface ActivitySearch {
  cluster?: string;
  who?: string;
  outcome?: string;
  kind?: string;
  row?: string;
}

/** What the list of clusters shows only; all of it lives in the URL. */
export interface ClustersSearch {
  /** A part of the name, the engine or the primary's. */
  q?: string;
  only?: 'trouble';
}

/** What a cluster's page shows on top of its tab; all of it lives in the URL. */
export interface ClusterSearch {
  /** Operation followed at the top of the page. */
  op?: string;
  /** Node whose promotion dialog is open. */
  promote?: string;
  /** With promote: the operation that is being switched back. */
  undo?: string;
  /** Node whose drawer is open. */
  node?: string;
  /** Audit row whose drawer is open. */
  row?: string;
  /** Audit filter. */
  outcome?: string;
  /** Stream that is read, and the revision its page begins at. */
  stream?: string;
  from?: string;
  /** With stream: persistent subscription that is looked at. */
  group?: string;
  /** Projection that is looked at, and the partition whose state is shown. */
  projection?: string;
  partition?: string;
  /** Node the terminal is for. */
  on?: string;
}

const text = (v: unknown): string | undefined =>
  typeof v === 'string' && v !== '' ? v : typeof v === 'number' ? String(v) : undefined;

const cluster = createRoute({
  getParentRoute: () => shell,
  path: '/clusters/$id',
  validateSearch: (s: Record<string, unknown>): ClusterSearch => {
    const all: ClusterSearch = {
      op: text(s.op), promote: text(s.promote), undo: text(s.undo), node: text(s.node), row: text(s.row), outcome: text(s.outcome), on: text(s.on), stream: text(s.stream), from: text(s.from), group: text(s.group), projection: text(s.projection), partition: text(s.partition),
    };
    return Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
  },
  component: lazyRouteComponent(() => import('../features/clusters/ClusterPage'), 'ClusterPage'),
});

const overview = createRoute({
  getParentRoute: () => cluster,
  path: '/',
  component: lazyRouteComponent(() => import('../features/clusters/OverviewTab'), 'OverviewTab'),
});

const nodes = createRoute({
  getParentRoute: () => cluster,
  path: '/nodes',
  component: lazyRouteComponent(() => import('../features/nodes/NodesTab'), 'NodesTab'),
});

const audit = createRoute({
  getParentRoute: () => cluster,
  path: '/audit',
  component: lazyRouteComponent(() => import('../features/audit/AuditTab'), 'AuditTab'),
});

const backups = createRoute({
  getParentRoute: () => cluster,
  path: '/backups',
  component: lazyRouteComponent(() => import('../features/backups/BackupsTab'), 'BackupsTab'),
});

const settings = createRoute({
  getParentRoute: () => cluster,
  path: '/settings',
  component: lazyRouteComponent(() => import('../features/settings/ClusterSettingsTab'), 'ClusterSettingsTab'),
});

const streams = createRoute({
  getParentRoute: () => cluster,
  path: '/streams',
  component: lazyRouteComponent(() => import('../features/streams/StreamsTab'), 'StreamsTab'),
});

const subscriptions = createRoute({
  getParentRoute: () => cluster,
  path: '/subscriptions',
  component: lazyRouteComponent(() => import('../features/store/SubscriptionsTab'), 'SubscriptionsTab'),
});

const projections = createRoute({
  getParentRoute: () => cluster,
  path: '/projections',
  component: lazyRouteComponent(() => import('../features/store/ProjectionsTab'), 'ProjectionsTab'),
});

const storeUsers = createRoute({
  getParentRoute: () => cluster,
  path: '/users',
  component: lazyRouteComponent(() => import('../features/store/StoreUsersTab'), 'StoreUsersTab'),
});

const terminal = createRoute({
  getParentRoute: () => cluster,
  path: '/terminal',
  component: lazyRouteComponent(() => import('../features/terminal/TerminalTab'), 'TerminalTab'),
});

const replay = createRoute({
  getParentRoute: () => cluster,
  path: '/terminal/$session',
  component: lazyRouteComponent(() => import('../features/terminal/ReplayPage'), 'ReplayPage'),
});

const incident = createRoute({
  getParentRoute: () => cluster,
  path: '/incidents/$op',
  component: lazyRouteComponent(() => import('../features/incidents/IncidentPage'), 'IncidentPage'),
});

const operation = createRoute({
  getParentRoute: () => cluster,
  path: '/operations/$op',
  component: lazyRouteComponent(() => import('../features/operations/OperationPage'), 'OperationPage'),
});

const tree = root.addChildren([
  setup,
  setPassword,
  signIn,
  shell.addChildren([
    home, clusters, newCluster, adopt, activity, backupsOfAll, alerts, approvals, hosts, users, settingsOfAll, account,
    cluster.addChildren([overview, nodes, backups, audit, settings, streams, subscriptions, projections, storeUsers, terminal, replay, operation, incident]),
  ]),
]);

/** The router; with a history of its own for tests, else the browser's. */
export function makeRouter(history?: RouterHistory) {
  return createRouter({ routeTree: tree, defaultPreload: 'intent', scrollRestoration: true, defaultErrorComponent: BrokenPage, ...(history && { history }) });
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
