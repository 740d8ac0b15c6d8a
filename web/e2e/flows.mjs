// The life of clusters, people and alerts through the dashboard, driven by
// Chromium as a person would: against the mock server, or against a running
// Baton for the parts its server has. A part that is not there is noted.
//
// Environment: see driver.mjs, and
//   BATON_USER, BATON_PASSWORD   an administrator; not needed by the mock
//   BATON_SETUP                  instead: the one-use link that makes one
//   ONLY                         regular expression over the names of flows

import { base, drive, must, uiMs, until } from './driver.mjs';

const username = process.env.BATON_USER ?? 'admin';
const password = process.env.BATON_PASSWORD ?? 'pass the baton without losing a write';
const token = (process.env.BATON_SETUP ?? '').replace(/^.*#token=/, '');
const only = new RegExp(process.env.ONLY ?? '.');
/** Starting engines, copying and loading, on a busy machine. */
const workMs = 180_000;

const { browser, page, step, shot, call, end } = await drive();
const go = (path) => page.goto(base + path);
const dialog = () => page.getByTestId('action-dialog');
const typeName = (name) => page.getByTestId('typed-name').fill(name);
const act = () => page.getByTestId('act').click();
const button = (name) => page.getByRole('button', { name, exact: true });
const shows = (locator) => locator.first().waitFor().then(() => true);

/** Whether the server has a route; without the document (the mock) it has all. */
let routes = null;
const has = (method, path) => routes === null || routes[`/api/v1${path}`]?.[method.toLowerCase()] !== undefined;

async function flow(name, needs, run) {
  if (!only.test(name)) return;
  const missing = needs.find(([m, p]) => !has(m, p));
  if (missing) console.log(`note ${name}: the server has no ${missing.join(' ')}`);
  else await step(name, run);
}

/** Waits for the operation on the page to end well; a promotion of it is somebody else's test. */
async function done() {
  const panel = page.locator('[data-testid=operation]:not([data-state=running]):not([data-state=requested])');
  await panel.first().waitFor({ timeout: workMs });
  const state = await panel.first().getAttribute('data-state');
  must(state === 'done', `it ended ${state}: ${(await panel.first().innerText()).slice(0, 300)}`);
}

await go('/');
await page.waitForLoadState('load');
if (token) {
  await go(`/setup#token=${token}`);
  await page.locator('input[name=password]').fill(password);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/clusters');
} else if ((await call('GET', '/session')).status === 401) {
  await go('/sign-in');
  await page.locator('input[name=username]').fill(username);
  await page.locator('input[name=password]').fill(password);
  await page.keyboard.press('Enter');
  await page.waitForURL('**/clusters');
}
routes = (await call('GET', '/openapi.json')).json?.paths ?? null;
const list = await until('a Redis cluster with a primary', workMs, async () => (await call('GET', '/clusters')).json?.clusters?.filter((c) => c.engine === 'redis' && c.primary));
const id = list[0].id;
const detail = async (cluster = id) => (await call('GET', `/clusters/${cluster}`)).json;
const replica = async () => (await detail()).nodes.find((n) => n.role === 'replica' && n.status.level === 'up').name;

await flow('the search leads to a node', [], async () => {
  const node = await replica();
  await go('/clusters');
  await shows(page.getByRole('link', { name: id }));
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox').fill(node);
  await shows(page.getByRole('option', { name: new RegExp(node) }));
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: node }).or(page.getByText('Can it be promoted?')).first().waitFor();
});

await flow('a node gets a priority and keeps it', [['PUT', '/clusters/{id}/nodes/{node}/tags']], async () => {
  const node = await replica();
  await go(`/clusters/${id}/nodes`);
  await button(`More for ${node}`).click();
  await page.getByText('Priority and tags…').click();
  await dialog().getByLabel('Priority').fill('120');
  await dialog().getByLabel('No backup').check();
  await act();
  await until('the priority in the table', uiMs, async () => /120/.test(await page.getByTestId(`node-${node}`).innerText()));
  await shows(page.getByTestId(`node-${node}`).getByText('no backup'));
  await button(`More for ${node}`).click();
  await page.getByText('Priority and tags…').click();
  await dialog().getByLabel('No backup').uncheck();
  await act();
  await page.getByTestId(`node-${node}`).getByText('no backup').waitFor({ state: 'detached' });
});

await flow('maintenance begins and ends', [['POST', '/clusters/{id}/nodes/{node}/maintenance']], async () => {
  const node = await replica();
  await go(`/clusters/${id}/nodes`);
  await button(`More for ${node}`).click();
  await page.getByText('Maintenance…').click();
  must(await page.getByTestId('act').isDisabled(), 'it begins without a reason');
  await dialog().getByLabel('Reason').fill('a new disk');
  await act();
  await shows(page.getByTestId(`node-${node}`).getByText(/maintenance until/));
  await button(`More for ${node}`).click();
  await page.getByText('End maintenance').click();
  await page.getByTestId(`node-${node}`).getByText(/maintenance until/).waitFor({ state: 'detached' });
});

let added = '';
await flow('a node is added', [['POST', '/clusters/{id}/nodes']], async () => {
  await go(`/clusters/${id}/nodes`);
  await button('Add node').click();
  added = await dialog().getByLabel('Name').inputValue();
  must(added !== '', 'no name was proposed');
  await until('a host to choose', uiMs, async () => (await dialog().getByLabel('Host').inputValue()) !== '');
  await act();
  await done();
  await shot('node-added');
});

await flow('a node is removed only by its name', [['POST', '/clusters/{id}/nodes/{node}/remove']], async () => {
  const node = routes === null ? await replica() : added;
  must(node !== '', 'no node was added');
  await go(`/clusters/${id}/nodes`);
  await button(`More for ${node}`).click();
  await page.getByText('Remove node…').click();
  await typeName(`${node}x`);
  must(await page.getByTestId('act').isDisabled(), 'a wrong name removes');
  await typeName(node);
  await dialog().getByLabel('Delete its data folder too').check();
  await act();
  await done();
});

await flow('a backup is taken and listed', [['POST', '/clusters/{id}/backups']], async () => {
  await go(`/clusters/${id}/backups`);
  await shows(page.getByText('What can be restored'));
  const before = await page.getByTestId('backup-row').count();
  await button('Back up now').click();
  await dialog().getByLabel('Reason').fill('before the release');
  await act();
  await done();
  await until('one more backup', uiMs, async () => (await page.getByTestId('backup-row').count()) > before);
  await shot('backup-taken');
});

await flow('a backup is verified', [['POST', '/clusters/{id}/backups/{backup}/verify']], async () => {
  await go(`/clusters/${id}/backups`);
  await page.getByRole('button', { name: /^More for the backup/ }).first().click();
  await page.getByText('Verify now').click();
  await act();
  await done();
  await shows(page.getByTestId('backup-row').getByText('Verified'));
});

await flow('restoring in place asks for the name, beside gives a new cluster', [['POST', '/clusters/{id}/backups/{backup}/restore']], async () => {
  await go(`/clusters/${id}/backups`);
  await button('Restore').first().click();
  await dialog().getByLabel('In place').check();
  must(await page.getByTestId('act').isDisabled(), 'in place goes without the name');
  await dialog().getByLabel('Beside, as a new cluster').check();
  await dialog().getByLabel('Name of the new cluster').fill('beside');
  await act();
  const secret = page.getByTestId('secret');
  if (await secret.waitFor({ timeout: 5000 }).then(() => true, () => false)) {
    await page.getByLabel('I have stored it').check();
    await button('Done').click();
  }
  await done();
});

await flow('a policy is changed with its consequence, a wrong network is not', [['PUT', '/clusters/{id}/settings']], async () => {
  await go(`/clusters/${id}/settings`);
  await page.getByLabel('Networks, one a line').fill('10.0.0.0/99');
  await shows(page.getByText('10.0.0.0/99 is not a network.'));
  must(await button('Save settings').isDisabled(), 'a wrong network can be saved');
  await button('Discard').click();
  const words = { off: 'do nothing', 'no-loss': 'promote a replica that holds every acknowledged write', 'bounded-loss': 'promote the best replica within a bound' };
  const present = (await call('GET', `/clusters/${id}/settings`)).json.policy.failover;
  for (const wanted of [present === 'off' ? 'no-loss' : 'off', present]) {
    await page.getByLabel(words[wanted]).check();
    await button('Save settings').click();
    await until(`the policy ${wanted}`, uiMs, async () => (await call('GET', `/clusters/${id}/settings`)).json.policy.failover === wanted);
    await page.getByText('not saved yet').waitFor({ state: 'detached' });
  }
  await shot('settings');
});

await flow('an engine user is added, its password shown once', [['POST', '/clusters/{id}/users']], async () => {
  await go(`/clusters/${id}/settings`);
  await button('Add user').click();
  await dialog().getByLabel('Name').fill('reporting');
  await dialog().getByLabel('read', { exact: true }).check();
  await act();
  await page.getByTestId('secret').waitFor();
  must(await button('Done').isDisabled(), 'the password can be left unread');
  await page.getByLabel('I have stored it').check();
  await button('Done').click();
  await shows(page.getByText('reporting', { exact: true }));
});

await flow('failover is paused with a reason and armed again', [['POST', '/clusters/{id}/failover/pause']], async () => {
  await go(`/clusters/${id}`);
  await button('Pause automatic failover').click();
  await dialog().getByLabel('Reason').fill('network work in rack a');
  await act();
  await shows(page.getByText('Automatic failover is paused', { exact: false }));
  await button('Arm again now').click();
  await shows(button('Pause automatic failover'));
});

await flow('the planner says what a death would bring', [['GET', '/clusters/{id}/what-if']], async () => {
  await go(`/clusters/${id}`);
  await page.getByTestId('what-if').waitFor();
  must((await page.getByTestId('what-if').innerText()).length > 20, 'the answer is empty');
});

await flow('a promotion is scheduled and cancelled', [['GET', '/clusters/{id}/schedules']], async () => {
  const node = await replica();
  await go(`/clusters/${id}?promote=${node}`);
  await page.getByTestId('typed-name').waitFor();
  const then = new Date(Date.now() + 5 * 86_400_000);
  const two = (n) => String(n).padStart(2, '0');
  await page.getByLabel('When; empty means at once').fill(`${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}T03:00`);
  await typeName(node);
  await page.getByTestId('promote').click();
  await shows(page.getByText(/^Scheduled for/));
  await shot('scheduled');
  await go(`/clusters/${id}/nodes`);
  await shows(page.getByText(`${node} will be promoted at`, { exact: false }));
  await button('Cancel it').click();
  await page.getByText(`${node} will be promoted at`, { exact: false }).waitFor({ state: 'detached' });
});

await flow('a person is invited, chooses a password and may look', [['POST', '/users']], async () => {
  await go('/users');
  await button('Add user').click();
  await dialog().getByLabel('User name').fill('vera');
  await dialog().getByLabel('Viewer').check();
  await act();
  const link = (await page.getByTestId('secret').innerText()).match(/\S*\/set-password#\S+/)?.[0];
  must(link, 'no link is shown');
  await page.getByLabel('I have stored it').check();
  await button('Done').click();
  await shows(page.getByTestId('user-vera'));
  const other = await browser.browser()?.newContext?.().catch(() => null);
  if (!other) return;
  const theirs = await other.newPage();
  await theirs.goto(link.startsWith('/') ? base + link : link.replace(/^https?:\/\/[^/]+/, base));
  await theirs.locator('input[name=password]').fill('a sentence nobody guesses');
  await theirs.keyboard.press('Enter');
  await theirs.waitForURL('**/clusters', { timeout: uiMs });
  await theirs.goto(`${base}/clusters/${id}/nodes`);
  await theirs.getByTestId(/^node-/).first().waitFor({ timeout: uiMs });
  if (routes !== null) must((await theirs.getByRole('button', { name: 'Add node' }).count()) === 0, 'a viewer is offered to add a node');
  await other.close();
});

await flow('a token is shown once and revoked', [['POST', '/tokens']], async () => {
  await go('/account');
  await button('New token').click();
  await dialog().getByLabel('Name').fill('pipeline');
  await act();
  await page.getByTestId('secret').waitFor();
  await page.getByLabel('I have stored it').check();
  await button('Done').click();
  const row = page.getByRole('listitem').filter({ hasText: 'pipeline' }).last();
  await row.getByRole('button', { name: 'Revoke' }).click();
  await act();
  await dialog().waitFor({ state: 'detached' });
});

await flow('activity lists what was done, the chain is intact', [['GET', '/activity'], ['GET', '/audit/verify']], async () => {
  await go('/activity');
  await page.getByTestId('audit-row').first().waitFor();
  await button('Check the chain').click();
  await shows(page.getByText(/intact/));
  await page.getByLabel('Cluster', { exact: true }).selectOption(id);
  await page.waitForURL(/cluster=/);
  await shot('activity');
  const csv = await page.evaluate(async () => (await fetch('/api/v1/audit/export?format=csv')).status);
  must(csv === 200, `the export answered ${csv}`);
});

await flow('alerts are told and acknowledged', [['GET', '/alerts']], async () => {
  await go('/alerts');
  await shows(page.getByTestId('alert').or(page.getByText('Nothing needs you')));
  const open = page.locator('[data-testid=alert][data-state=firing]');
  if ((await open.count()) === 0) return;
  const before = await open.count();
  await open.first().getByRole('button', { name: 'Acknowledge' }).click();
  await act();
  await until('one alert less', uiMs, async () => (await open.count()) < before);
});

await flow('a webhook is kept', [['PUT', '/notifications']], async () => {
  await go('/settings');
  await button('Add a webhook').click();
  await page.getByLabel('Address of the webhook').last().fill('https://hooks.example.org/baton-two');
  await button('Save').click();
  await until('the webhook', uiMs, async () => (await call('GET', '/notifications')).json.webhooks.some((h) => h.url.endsWith('baton-two')));
});

await flow('a host is invited by a command', [['POST', '/hosts/join-token']], async () => {
  await go('/hosts');
  await button('Add a host').click();
  await shows(page.getByText('Run this as root', { exact: false }));
  must(/--join/.test(await page.getByRole('dialog').innerText()), 'the command does not join');
});

await flow('the control plane tells its own health', [['GET', '/control']], async () => {
  await go('/settings');
  await shows(page.getByText(/Control plane \d of \d/));
});

await flow('a cluster is created from name to result', [['POST', '/clusters'], ['GET', '/engines']], async () => {
  await go('/clusters/new');
  await page.getByLabel('Name').fill('made-here');
  await button('Next').click();
  await page.getByLabel('Redis').check();
  await button('Next').click();
  const more = page.getByRole('button', { name: /^One node more on/ }).first();
  await more.click();
  await more.click();
  await button('Next').click();
  await shows(page.getByText('How safe'));
  await button('Next').click();
  await shows(page.getByText('What will run'));
  await shot('create-review');
  await button('Create made-here').click();
  const secret = page.getByTestId('secret');
  await secret.or(page.getByTestId('operation')).first().waitFor();
  if (await secret.isVisible()) {
    await page.getByLabel('I have stored it').check();
    await button('Watch it being created').click();
  }
  if (routes === null) return; // The mock makes no cluster.
  await done();
  await until('a primary', workMs, async () => (await detail('made-here')).primary !== null);
  await shot('created');
});

await flow('a cluster is deleted in two acts', [['POST', '/clusters/{id}/delete']], async () => {
  const name = routes === null ? id : 'made-here';
  await go(`/clusters/${name}/settings`);
  must(await page.getByRole('button', { name: `Delete ${name}…` }).isDisabled(), 'a protected cluster can be deleted');
  await page.getByLabel('This cluster cannot be deleted').uncheck({ force: true });
  await button('Save settings').click();
  await page.getByRole('button', { name: `Delete ${name}…` }).click();
  await typeName(name);
  await dialog().getByLabel('Delete the data folders too').check();
  await act();
  await done();
  await shot('deleted');
});

process.exit(await end());
