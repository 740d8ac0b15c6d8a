// What a page is given at its edges: names of 63 characters, two hundred
// clusters and none, fifty nodes, terabytes, text from right to left, a page
// at twice its size; and shells.

import { seen } from './flows.mjs';

const long = 'payments-ledger-eu-central-1-production-primary-shard-blue-07';

const of = (scenario, suffix, pages) => Object.fromEntries(Object.entries(pages).map(([name, path]) => [`${suffix}-${name}`, { scenario, path, act: (p) => p.waitForTimeout(1500), full: true }]));

export const edges = {
  ...of('long', 'long', {
    clusters: '/clusters', overview: `/clusters/${long}`, nodes: `/clusters/${long}/nodes`, promote: `/clusters/${long}?promote=${long}-2`, backups: `/clusters/${long}/backups`, audit: `/clusters/${long}/audit`, drawer: `/clusters/${long}/nodes?node=${long}-2`, hosts: '/hosts', alerts: '/alerts', activity: '/activity', 'backups-all': '/backups', approvals: '/approvals', terminal: `/clusters/${long}/terminal`,
  }),
  'long-remove': { scenario: 'long', path: `/clusters/${long}/nodes`, act: async (p) => { await p.getByRole('button', { name: `More for ${long}-3` }).click(); await p.getByText('Remove node…').click(); await p.getByTestId('typed-name').waitFor(); } },
  ...of('foreign', 'foreign', { overview: '/clusters/demo', nodes: '/clusters/sessions/nodes', audit: '/clusters/demo/audit', activity: '/activity', hosts: '/hosts', users: '/users' }),
  ...of('many', 'many', { clusters: '/clusters' }),
  ...of('crowd', 'crowd', { overview: '/clusters/demo', nodes: '/clusters/demo/nodes' }),
  ...of('huge', 'huge', { clusters: '/clusters', overview: '/clusters/sessions', nodes: '/clusters/sessions/nodes', drawer: '/clusters/sessions/nodes?node=sessions-2' }),
  'terminal-open': { path: '/clusters/sessions/terminal?on=sessions-2', act: async (p) => { await p.getByRole('button', { name: 'Open terminal' }).click(); await p.getByTestId('terminal-banner').waitFor(); await p.waitForTimeout(900); } },
  'terminal-primary': { path: '/clusters/sessions/terminal?on=sessions-1', act: async (p) => { await p.getByLabel('Engine shell, admin').check(); await p.getByTestId('typed-name').waitFor(); } },
  'terminal-write': { path: '/clusters/sessions/terminal?on=sessions-2', act: async (p) => { await p.getByRole('button', { name: 'Open terminal' }).click(); await p.getByRole('button', { name: 'Allow writing…' }).click(); await p.waitForTimeout(500); } },
  'terminal-os': { path: '/clusters/sessions/terminal?on=sessions-2', act: async (p) => { await p.getByLabel('Shell of the host').check(); await p.getByRole('button', { name: 'Open terminal' }).click(); await p.getByTestId('terminal-banner').waitFor(); await p.waitForTimeout(700); } },
  'terminal-idle': { scenario: 'terminal-idle', path: '/clusters/sessions/terminal?on=sessions-2', act: async (p) => { await p.getByRole('button', { name: 'Open terminal' }).click(); await seen(p, 'Still there?'); } },
  'terminal-ended': { scenario: 'terminal-ended', path: '/clusters/sessions/terminal?on=sessions-2', act: async (p) => { await p.getByRole('button', { name: 'Open terminal' }).click(); await p.getByTestId('terminal-ended').waitFor(); } },
  'terminal-end': { path: '/clusters/sessions/terminal', act: async (p) => { await p.getByRole('button', { name: /End the terminal of/ }).click(); await p.getByTestId('action-dialog').waitFor(); } },
  replay: { path: '/clusters/sessions/terminal/s1', act: async (p) => { await p.getByTestId('player').waitFor(); await p.waitForTimeout(1500); } },
  'node-resync': { path: '/clusters/sessions/nodes', act: async (p) => { await p.getByRole('button', { name: 'More for sessions-3' }).click(); await p.getByText('Resync…').click(); await p.getByTestId('action-dialog').waitFor(); } },
  'node-maintenance': { path: '/clusters/sessions/nodes', act: async (p) => { await p.getByRole('button', { name: 'More for sessions-3' }).click(); await p.getByText(/maintenance…/i).click(); await p.getByTestId('action-dialog').waitFor(); } },
  'backup-verify': { path: '/clusters/sessions/backups', act: async (p) => { await p.getByRole('button', { name: /^More for/ }).first().click(); await p.waitForTimeout(400); } },
  'cluster-delete': { scenario: 'unprotected', path: '/clusters/sessions/settings', act: async (p) => { await p.getByRole('button', { name: 'Delete sessions…' }).click(); await p.getByTestId('typed-name').waitFor(); } },
  'failover-by-hand': { scenario: 'primary-gone', path: '/clusters/sessions', act: async (p) => { await p.getByRole('button', { name: 'Fail over by hand…' }).click(); await p.getByLabel(/Accept that/).check(); } },
  'failover-cooling': { scenario: 'cooling', path: '/clusters/sessions', act: (p) => seen(p, 'Acknowledge'), sizes: ['wide'] },
  'undo': { start: { cluster: 'sessions', node: 'sessions-2', everyMs: 60 }, path: '/clusters/sessions', op: true, act: async (p) => { await p.getByRole('button', { name: /Switch back/ }).click(); await p.getByTestId('typed-name').waitFor(); } },
  'promote-later': { path: '/clusters/demo?promote=demo-2', act: async (p) => { await p.getByTestId('typed-name').waitFor(); await p.getByRole('button', { name: 'At a set time' }).click(); await p.locator('input[type=datetime-local]').fill('2027-03-01T06:30'); await p.getByTestId('typed-name').fill('demo-2'); } },
  'user-remove': { path: '/users', act: async (p) => { await p.getByRole('button', { name: 'Change mira' }).first().click(); await p.waitForTimeout(400); }, sizes: ['wide'] },
  'storage-add': { path: '/settings', act: async (p) => { await p.getByRole('button', { name: 'Add storage' }).click(); await p.getByLabel('S3').check(); } },
  'token-add': { path: '/account', act: async (p) => { await p.getByRole('button', { name: /token/i }).first().click(); await p.waitForTimeout(400); } },
  'engine-user-secret': { path: '/clusters/sessions/settings', act: async (p) => { await p.getByRole('button', { name: 'Add user' }).click(); await p.getByTestId('action-dialog').getByLabel('Name').fill('billing'); await p.getByTestId('act').click(); await p.getByTestId('secret').waitFor(); } },
  'zoom-overview': { path: '/clusters/sessions', act: (p) => p.waitForTimeout(1500), sizes: ['zoom'] },
  'zoom-nodes': { path: '/clusters/sessions/nodes', act: (p) => p.waitForTimeout(1500), sizes: ['zoom'] },
  'zoom-promote': { path: '/clusters/demo?promote=demo-3', act: (p) => p.getByTestId('typed-name').waitFor(), sizes: ['zoom'] },
  'zoom-create': { path: '/clusters/new', act: (p) => p.waitForTimeout(1200), sizes: ['zoom'] },
};
