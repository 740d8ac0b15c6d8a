import { createRootRoute, createRoute, createRouter, lazyRouteComponent, Navigate, Outlet } from '@tanstack/react-router';
import { NotFoundPage } from './NotFoundPage';
import { Shell } from './Shell';

const root = createRootRoute({ component: Outlet, notFoundComponent: NotFoundPage });

const setup = createRoute({
  getParentRoute: () => root,
  path: '/setup',
  component: lazyRouteComponent(() => import('../features/session/SetupPage'), 'SetupPage'),
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
  component: lazyRouteComponent(() => import('../features/clusters/ClusterListPage'), 'ClusterListPage'),
});

const hosts = createRoute({
  getParentRoute: () => shell,
  path: '/hosts',
  component: lazyRouteComponent(() => import('../features/hosts/HostsPage'), 'HostsPage'),
});

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
}

const text = (v: unknown): string | undefined =>
  typeof v === 'string' && v !== '' ? v : typeof v === 'number' ? String(v) : undefined;

const cluster = createRoute({
  getParentRoute: () => shell,
  path: '/clusters/$id',
  validateSearch: (s: Record<string, unknown>): ClusterSearch => {
    const all: ClusterSearch = {
      op: text(s.op), promote: text(s.promote), undo: text(s.undo), node: text(s.node), row: text(s.row), outcome: text(s.outcome),
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

const operation = createRoute({
  getParentRoute: () => cluster,
  path: '/operations/$op',
  component: lazyRouteComponent(() => import('../features/operations/OperationPage'), 'OperationPage'),
});

const tree = root.addChildren([
  setup,
  signIn,
  shell.addChildren([home, clusters, hosts, cluster.addChildren([overview, nodes, audit, operation])]),
]);

export function makeRouter() {
  return createRouter({ routeTree: tree, defaultPreload: 'intent', scrollRestoration: true });
}

declare module '@tanstack/react-router' {
  interface Register {
    router: ReturnType<typeof makeRouter>;
  }
}
