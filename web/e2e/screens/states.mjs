// Each page in the states it may be in: loading, failed, old, forbidden, and
// as somebody sees it who may only look.

/** What a page asks for: while these are held back it loads, where they fail it says so. Clusters also come as events. */
const pages = {
  clusters: { path: '/clusters', asks: '^/(clusters|events)$' },
  overview: { path: '/clusters/sessions', asks: '^/(clusters/sessions|events)$' },
  nodes: { path: '/clusters/sessions/nodes', asks: '^/(clusters/sessions|events)$' },
  'node-report': { path: '/clusters/sessions/nodes?node=sessions-2', asks: '/report$' },
  'promote-plan': { path: '/clusters/sessions?promote=sessions-2', asks: '/plan$' },
  backups: { path: '/clusters/sessions/backups', asks: '^/clusters/sessions/backups' },
  terminal: { path: '/clusters/sessions/terminal', asks: '^/terminal/sessions' },
  recording: { path: '/clusters/sessions/terminal/s1', asks: '^/terminal/recordings' },
  audit: { path: '/clusters/sessions/audit', asks: '^/clusters/sessions/audit' },
  settings: { path: '/clusters/sessions/settings', asks: '^/clusters/sessions/(settings|endpoint|users|parameters)' },
  activity: { path: '/activity', asks: '^/activity' },
  'backups-all': { path: '/backups', asks: '^/backups$' },
  alerts: { path: '/alerts', asks: '^/alerts$' },
  approvals: { path: '/approvals', asks: '^/approvals$' },
  hosts: { path: '/hosts', asks: '^/hosts$' },
  users: { path: '/users', asks: '^/users$' },
  'settings-all': { path: '/settings', asks: '^/(notifications|backup-targets|control)$' },
  account: { path: '/account', asks: '^/tokens$' },
  create: { path: '/clusters/new', asks: '^/(engines|hosts)$' },
};

/** Asks again, as a page does that one comes back to. */
const again = (p) => p.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
/** A page is drawn; what it shows then is for the eye. */
const drawn = async (p) => {
  await p.locator('main h1, main h2, main .card, main [role=status]').first().waitFor();
  await p.waitForTimeout(600);
};
const failing = ({ asks }, status, says) => ({ match: asks, status, says });
const forbidden = ['Your role does not allow this', 'This needs the role admin; yours is viewer.', 'Ask an administrator for the role it needs.'];

const states = {
  loading: (page) => ({ path: page.path, hold: page.asks, act: drawn }),
  failed: (page) => ({ path: page.path, fail: failing(page, 500), act: async (p) => { await p.getByRole('alert').first().waitFor({ timeout: 60_000 }); } }),
  old: (page) => ({
    path: page.path,
    act: async (p) => {
      await drawn(p);
      await p.waitForTimeout(1200);
      await p.mock({ reset: false, fail: failing(page, 403, ['The control plane had an error', 'Its journal did not answer within 5 s.', 'Try again.']) });
      await again(p);
      await p.getByText('What you see is').first().waitFor({ timeout: 8_000 }).catch(() => {});
    },
  }),
  forbidden: (page) => ({ path: page.path, role: 'viewer', fail: failing({ asks: page.asks.replace('|events', '') }, 403, forbidden), act: async (p) => { await p.getByRole('alert').first().waitFor({ timeout: 60_000 }).catch(() => {}); } }),
  viewer: (page) => ({ path: page.path, scenario: 'viewer', act: drawn }),
};

export const matrix = Object.fromEntries(Object.entries(pages).flatMap(([name, page]) => Object.entries(states).map(([state, make]) => [`${state}-${name}`, make(page)])));
