// Pages and dialogs as people meet them, each with what the mock does, where
// to go, and what to wait for and do before the picture.

export const seen = (page, text) => page.getByText(text).first().waitFor();

/** Walks the create wizard to a step. */
async function wizard(p, step) {
  await p.getByLabel('Name').fill('shop');
  const next = p.getByRole('button', { name: 'Next' });
  await next.click();
  await p.getByLabel('Redis').check();
  await next.click();
  for (const host of ['rack-a-1', 'rack-b-1', 'rack-c-1']) await p.getByRole('button', { name: `One node more on ${host}` }).click();
  for (let i = 2; i < step; i++) await next.click();
  await seen(p, step === 2 ? 'Three nodes' : step === 3 ? 'How safe' : 'What will run');
}

/** Pages and dialogs as people meet them. */
export const flows = {
  'sign-in': { scenario: 'signed-out', path: '/sign-in', act: (p) => seen(p, 'User name') },
  'sign-in-wrong': {
    scenario: 'signed-out', path: '/sign-in',
    act: async (p) => {
      await p.fill('input[name=username]', 'admin');
      await p.fill('input[name=password]', 'guess');
      await p.keyboard.press('Enter');
      await seen(p, 'is wrong');
    },
  },
  setup: { scenario: 'setup', path: '/setup#token=good', act: (p) => seen(p, 'Create user') },
  'setup-no-token': { scenario: 'setup', path: '/setup', act: (p) => seen(p, 'one-use link') },
  clusters: { path: '/clusters', act: (p) => seen(p, 'sessions-3 is not in step') },
  'clusters-empty': { scenario: 'empty', path: '/clusters', act: (p) => seen(p, 'Three commands') },
  'clusters-error': { scenario: 'error', path: '/clusters', act: async (p) => { await p.getByRole('alert').waitFor({ timeout: 20000 }); } },
  'clusters-stale': { scenario: 'stale', path: '/clusters', act: (p) => p.waitForTimeout(1500) },
  overview: { path: '/clusters/demo', act: (p) => p.getByTestId('topology-demo-5').waitFor() },
  'overview-redis': { path: '/clusters/sessions', act: (p) => p.getByTestId('topology-sessions-3').waitFor() },
  'overview-down': { path: '/clusters/ledger', act: (p) => p.getByTestId('topology-ledger-3').waitFor() },
  'overview-stale': { scenario: 'stale', path: '/clusters/demo', act: (p) => p.getByTestId('topology-demo-5').waitFor() },
  'overview-lost': {
    path: '/clusters/demo',
    act: async (p) => {
      await p.getByTestId('topology-demo-5').waitFor();
      await p.mock({ scenario: 'lost', reset: false });
      await seen(p, 'No connection');
      await p.waitForTimeout(4500);
    },
  },
  'promote-menu': { path: '/clusters/demo', act: async (p) => { await p.getByRole('button', { name: 'Promote', exact: true }).click(); await seen(p, 'Which node'); } },
  nodes: { path: '/clusters/demo/nodes', act: (p) => p.getByTestId('node-demo-5').waitFor() },
  'nodes-redis': { path: '/clusters/sessions/nodes', act: (p) => p.getByTestId('node-sessions-3').waitFor() },
  'node-drawer': { path: '/clusters/demo/nodes?node=demo-3', act: (p) => seen(p, 'Its machine is busy') },
  audit: { path: '/clusters/demo/audit', act: (p) => p.getByTestId('audit-row').first().waitFor() },
  'audit-drawer': { path: '/clusters/demo/audit', act: async (p) => { await p.getByTestId('audit-row').first().getByRole('button').click(); await seen(p, 'Chain hash'); await p.waitForTimeout(400); } },
  'audit-empty': { path: '/clusters/ledger/audit', act: (p) => seen(p, 'Nothing was done') },
  promote: { path: '/clusters/demo?promote=demo-3', act: (p) => p.getByTestId('typed-name').waitFor(), full: true },
  'promote-typed': {
    path: '/clusters/demo?promote=demo-2',
    act: async (p) => {
      await p.getByTestId('typed-name').fill('demo-2');
      await p.getByTestId('dry-run').click();
      await seen(p, 'Dry run passed');
    },
  },
  'promote-wrong': { path: '/clusters/demo?promote=demo-2', act: async (p) => { await p.getByTestId('typed-name').fill('demo-3'); } },
  'promote-refused': { path: '/clusters/sessions?promote=sessions-3', act: (p) => p.getByTestId('refused').waitFor() },
  'promote-override': { scenario: 'skew', path: '/clusters/sessions?promote=sessions-2', act: (p) => seen(p, 'Set aside clock.skew') },
  'promote-overridden': { scenario: 'skew', path: '/clusters/sessions?promote=sessions-2', act: async (p) => { await p.getByText('Set aside clock.skew').click(); await p.getByTestId('typed-name').fill('sessions-2'); await seen(p, 'needs a reason'); } },
  'promote-stale': {
    scenario: 'stale-report', path: '/clusters/demo?promote=demo-2',
    act: async (p) => { await p.getByTestId('typed-name').fill('demo-2'); await p.getByTestId('promote').click(); await seen(p, 'changed while'); },
  },
  'promote-busy': {
    scenario: 'busy', path: '/clusters/demo?promote=demo-2',
    act: async (p) => { await p.getByTestId('typed-name').fill('demo-2'); await p.getByTestId('promote').click(); await seen(p, 'Another operation'); },
  },
  running: { scenario: 'frozen', start: { cluster: 'sessions', node: 'sessions-2', everyMs: 120 }, path: '/clusters/sessions', act: async (p) => { await p.getByTestId('operation').waitFor(); await p.waitForTimeout(900); } },
  'running-list': { scenario: 'frozen', start: { cluster: 'sessions', node: 'sessions-2', everyMs: 120 }, path: '/clusters', act: (p) => seen(p, 'Operation running') },
  result: {
    path: '/clusters/demo?promote=demo-2',
    act: async (p) => {
      await p.getByTestId('typed-name').fill('demo-2');
      await p.getByTestId('promote').click();
      await seen(p, 'demo-2 leads now');
      await p.waitForTimeout(900);
    },
  },
  'result-rolled-back': { scenario: 'rolled-back', start: { cluster: 'sessions', node: 'sessions-2', everyMs: 100 }, path: '/clusters/sessions', op: true, act: (p) => seen(p, 'Rolled back:') },
  'result-human': { scenario: 'needs-human', start: { cluster: 'sessions', node: 'sessions-2', everyMs: 100 }, path: '/clusters/sessions', op: true, act: (p) => seen(p, 'needs a human') },
  'operation-page': { path: '/clusters/demo/audit', act: async (p) => { await p.getByTestId('audit-row').first().getByRole('button').click(); await p.getByText('Result and proof').click(); await p.getByTestId('operation').waitFor(); } },
  viewer: { scenario: 'viewer', path: '/clusters/demo/nodes', act: (p) => p.getByTestId('node-demo-5').waitFor() },
  hosts: { path: '/hosts', act: (p) => seen(p, 'rack-b-1') },
  'not-found': { path: '/clusters/nope', act: async (p) => { await p.getByRole('alert').waitFor({ timeout: 20000 }); } },
  'no-page': { path: '/nowhere', act: (p) => seen(p, 'no page') },
  'person-menu': { path: '/clusters', act: async (p) => { await p.getByRole('button', { name: /account and appearance/ }).first().click(); await seen(p, 'Sign out'); }, sizes: ['wide'] },
  search: { path: '/clusters', act: async (p) => { await seen(p, 'sessions-3 is not in step'); await p.keyboard.press('Control+k'); await p.getByRole('combobox').fill('ses'); await p.getByRole('option').first().waitFor(); } },
  'search-none': { path: '/clusters', act: async (p) => { await seen(p, 'sessions-3 is not in step'); await p.keyboard.press('Control+k'); await p.getByRole('combobox').fill('zzz'); await seen(p, 'Nothing is called'); }, sizes: ['wide'] },
  'overview-whole': { path: '/clusters/sessions', act: async (p) => { await p.getByTestId('what-if').waitFor(); await seen(p, 'Memory in use'); await p.waitForTimeout(500); }, full: true },
  'overview-lease': { scenario: 'lease', path: '/clusters/sessions', act: async (p) => { await p.getByTestId('lease').waitFor(); }, sizes: ['wide'] },
  'pause-failover': { path: '/clusters/sessions', act: async (p) => { await p.getByRole('button', { name: 'Pause automatic failover' }).click(); await p.getByTestId('action-dialog').waitFor(); } },
  'nodes-more': { path: '/clusters/sessions/nodes', act: async (p) => { await p.getByRole('button', { name: 'More for sessions-2' }).click(); await seen(p, 'Remove node'); } },
  'node-add': { path: '/clusters/sessions/nodes', act: async (p) => { await p.getByRole('button', { name: 'Add node' }).click(); await p.getByTestId('action-dialog').waitFor(); } },
  'node-remove': { path: '/clusters/sessions/nodes', act: async (p) => { await p.getByRole('button', { name: 'More for sessions-3' }).click(); await p.getByText('Remove node…').click(); await p.getByTestId('typed-name').waitFor(); } },
  'node-tags': { path: '/clusters/sessions/nodes', act: async (p) => { await p.getByRole('button', { name: 'More for sessions-3' }).click(); await p.getByText('Priority and tags…').click(); await p.getByTestId('action-dialog').waitFor(); } },
  backups: { path: '/clusters/sessions/backups', act: (p) => p.getByTestId('backup-row').first().waitFor(), full: true },
  'backups-empty': { scenario: 'no-backups', path: '/clusters/sessions/backups', act: (p) => seen(p, 'No backup was taken') },
  'backup-take': { path: '/clusters/sessions/backups', act: async (p) => { await p.getByRole('button', { name: 'Back up now' }).click(); await p.getByTestId('action-dialog').waitFor(); } },
  'restore-beside': { path: '/clusters/sessions/backups', act: async (p) => { await p.getByRole('button', { name: 'Restore', exact: true }).first().click(); await p.getByTestId('action-dialog').waitFor(); } },
  'restore-in-place': { path: '/clusters/sessions/backups', act: async (p) => { await p.getByRole('button', { name: 'Restore', exact: true }).first().click(); await p.getByLabel('In place').check(); await p.getByTestId('typed-name').waitFor(); } },
  'backup-running': { path: '/clusters/sessions/backups', act: async (p) => { await p.getByRole('button', { name: 'Back up now' }).click(); await p.getByTestId('act').click(); await p.getByTestId('operation').waitFor(); } },
  'backups-all': { path: '/backups', act: (p) => p.getByRole('link', { name: 'sessions', exact: true }).first().waitFor() },
  settings: { path: '/clusters/sessions/settings', act: async (p) => { await seen(p, 'Danger zone'); await seen(p, 'io-threads'); }, full: true },
  'settings-changed': { path: '/clusters/sessions/settings', act: async (p) => { await p.getByLabel('do nothing').check(); await seen(p, 'not saved yet'); } },
  create: { path: '/clusters/new', act: (p) => seen(p, 'What is it called') },
  'create-nodes': { path: '/clusters/new', act: async (p) => { await wizard(p, 2); } },
  'create-safety': { path: '/clusters/new', act: async (p) => { await wizard(p, 3); }, full: true },
  'create-review': { path: '/clusters/new', act: async (p) => { await wizard(p, 4); }, full: true },
  'create-secret': { path: '/clusters/new', act: async (p) => { await wizard(p, 4); await p.getByRole('button', { name: 'Create shop' }).click(); await p.getByTestId('secret').waitFor(); } },
  adopt: { path: '/clusters/adopt', act: async (p) => { await p.getByLabel('Name').fill('legacy'); await p.getByLabel('Address of the primary').fill('10.0.0.5:6379'); await p.getByRole('button', { name: 'Look first' }).click(); await seen(p, 'can be adopted'); } },
  'adopt-refused': { path: '/clusters/adopt', act: async (p) => { await p.getByLabel('Name').fill('legacy'); await p.getByLabel('Address of the primary').fill('10.0.0.5:26379'); await p.getByRole('button', { name: 'Look first' }).click(); await seen(p, 'Sentinel watches'); } },
  alerts: { path: '/alerts', act: (p) => p.getByTestId('alert').first().waitFor() },
  'alerts-empty': { scenario: 'empty', path: '/alerts', act: (p) => seen(p, 'Nothing needs you') },
  approvals: { path: '/approvals', act: (p) => p.getByTestId('approval').first().waitFor() },
  approve: { path: '/approvals', act: async (p) => { await p.getByRole('button', { name: 'Approve' }).click(); await p.getByTestId('typed-name').waitFor(); }, sizes: ['wide'] },
  activity: { path: '/activity', act: async (p) => { await p.getByTestId('audit-row').first().waitFor(); await p.getByRole('button', { name: 'Check the chain' }).click(); await seen(p, 'intact'); } },
  users: { path: '/users', act: (p) => p.getByTestId('user-mira').waitFor() },
  'user-add': { path: '/users', act: async (p) => { await p.getByRole('button', { name: 'Add user' }).click(); await p.getByTestId('action-dialog').waitFor(); } },
  'user-link': { path: '/users', act: async (p) => { await p.getByRole('button', { name: 'Add user' }).click(); await p.getByLabel('User name').fill('nina'); await p.getByTestId('act').click(); await p.getByTestId('secret').waitFor(); }, sizes: ['wide'] },
  'set-password': { path: '/set-password#token=bs_1&user=jon', act: (p) => seen(p, 'Welcome, jon') },
  account: { path: '/account', act: (p) => seen(p, 'deploy-pipeline') },
  'host-join': { path: '/hosts', act: async (p) => { await p.getByRole('button', { name: 'Add a host' }).click(); await seen(p, 'Run this as root'); } },
  'host-ssh': { path: '/hosts', act: async (p) => { await p.getByRole('button', { name: 'Install over SSH' }).click(); await p.getByTestId('action-dialog').waitFor(); } },
  'settings-all': { path: '/settings', act: async (p) => { await seen(p, 'Backup storage'); await seen(p, 'Last messages'); }, full: true },
  'control-short': { scenario: 'control-short', path: '/settings', act: (p) => seen(p, 'Does not answer'), sizes: ['wide'] },
  incident: { path: '/clusters/demo', act: async (p) => { const ops = await p.evaluate(async () => (await (await fetch('/api/v1/clusters/demo/audit')).json()).rows.find((r) => r.operationId && r.outcome === 'done').operationId); await p.goto(`/clusters/demo/incidents/${ops}`); await seen(p, 'was last seen in step'); } },
  'phone-menu': { path: '/clusters', act: async (p) => { await p.getByRole('button', { name: 'Open the menu' }).click(); await p.waitForTimeout(500); }, sizes: ['phone'] },
};

