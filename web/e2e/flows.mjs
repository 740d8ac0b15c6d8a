// The life of clusters, people and alerts through the dashboard of a running
// Baton, driven by Chromium as a person would. A part the server does not have
// is noted.
//
// Environment: see driver.mjs, and
//   ONLY   regular expression over the names of flows
//
// It ends processes of the demonstration's Redis cluster, which must run on
// this machine.

import { createServer } from 'node:http';
import { base, drive, must, uiMs, until, workMs } from './driver.mjs';
import { axe } from './axe.mjs';

const only = new RegExp(process.env.ONLY ?? '.');

const { page, person, step, shot, call, signIn, end } = await drive('flow');
const go = (path) => page.goto(base + path);
const dialog = () => page.getByTestId('action-dialog');
const typeName = (name) => page.getByTestId('typed-name').fill(name);
const button = (name) => page.getByRole('button', { name, exact: true });
const shows = (locator) => locator.first().waitFor();
const gone = (locator) => locator.first().waitFor({ state: 'detached' });

/** Whether the server has a route. */
let routes = null;
const has = (method, path) => routes?.[`/api/v1${path}`]?.[method.toLowerCase()] !== undefined;

async function flow(name, needs, run) {
  if (!only.test(name)) return;
  const missing = needs.find(([m, p]) => !has(m, p));
  if (missing) console.log(`note ${name}: the server has no ${missing.join(' ')}`);
  else await step(name, run);
}

/** Presses the dialog's button and returns what the server answered. What mends or copies by itself may have begun meanwhile: it is asked again. */
async function act() {
  let answer = null;
  let json = null;
  for (const deadline = Date.now() + workMs; ; ) {
    const sent = page.waitForResponse((r) => r.request().method() !== 'GET' && r.url().startsWith(`${base}/api/v1/`));
    sent.catch(() => {}); // where the button cannot be pressed, that is what is told
    await page.getByTestId('act').click();
    answer = await sent;
    json = await answer.json().catch(() => null);
    if (json?.code !== 'operation-running' || Date.now() > deadline) break;
    await page.waitForTimeout(500);
  }
  must(answer.ok(), `${answer.status()} ${json?.title ?? ''}: ${json?.detail ?? ''} ${(json?.refusals ?? []).map((r) => `${r.title} (${r.detail})`).join('; ')}`);
  return json;
}

/** Waits until the operation that an answer names has ended well, on the page too. */
async function done(answer) {
  const id = answer.operationId;
  const op = await until(`the end of operation ${id}`, workMs, async () => {
    const o = (await call('GET', `/operations/${id}`)).json;
    return ['requested', 'running'].includes(o.state) ? null : o;
  });
  must(op.state === 'done', `it ended ${op.state}: ${op.outcome}; ${op.steps.map((s) => `${s.id} ${s.state} ${s.detail}`).join('; ')}`);
  await shows(page.locator('[data-testid=operation][data-state=done]'));
}

/** Stores what is shown once. */
async function stored(next = 'Done') {
  await page.getByTestId('secret').waitFor();
  must(await button(next).isDisabled(), 'it can be left unread');
  await page.getByLabel('I have stored it').check();
  await button(next).click();
}

await signIn();
routes = (await call('GET', '/openapi.json')).json.paths;
const detail = async (cluster) => (await call('GET', `/clusters/${cluster}`)).json;
/** A cluster at rest: a primary, everything in step, nothing running. */
const settled = (cluster) =>
  until(`${cluster} at rest`, workMs, async () => {
    const c = await detail(cluster);
    return c.primary && c.runningOperation === null && c.verdict.level === 'healthy' && c.membersUp === c.membersTotal ? c : null;
  });
const id = (await until('a Redis cluster that can be grown', workMs, async () => (await call('GET', '/clusters')).json.clusters.find((c) => c.engine === 'redis' && c.primary))).id;
const replica = async () => (await settled(id)).nodes.find((n) => n.role === 'replica').name;

await flow('the search leads to a node', [], async () => {
  const node = await replica();
  await go('/clusters');
  await shows(page.getByRole('main').getByRole('link', { name: id }));
  await page.keyboard.press('Control+k');
  await page.getByRole('combobox').fill(node);
  await shows(page.getByRole('option', { name: new RegExp(node) }));
  await page.keyboard.press('Enter');
  await shows(page.getByText('Can it be promoted?'));
  await page.keyboard.press('Escape');
  await gone(page.getByText('Can it be promoted?'));
});

await flow('a node gets a priority and keeps it', [['PUT', '/clusters/{id}/nodes/{node}/tags']], async () => {
  const node = await replica();
  await go(`/clusters/${id}/nodes`);
  await button(`More for ${node}`).click();
  await page.getByText('Priority and tags…').click();
  await dialog().getByLabel('Priority').fill('120');
  await dialog().getByLabel('No backup').check();
  await act();
  await gone(dialog());
  await shows(page.getByTestId(`node-${node}`).getByText('no backup'));
  await until('the priority in the table', uiMs, async () => /120/.test(await page.getByTestId(`node-${node}`).innerText()));
  await button(`More for ${node}`).click();
  await page.getByText('Priority and tags…').click();
  await dialog().getByLabel('No backup').uncheck();
  await act();
  await gone(page.getByTestId(`node-${node}`).getByText('no backup'));
});

await flow('maintenance begins and ends', [['POST', '/clusters/{id}/nodes/{node}/maintenance']], async () => {
  const node = await replica();
  await go(`/clusters/${id}/nodes`);
  await button(`More for ${node}`).click();
  await page.getByText('Maintenance…').click();
  must(await page.getByTestId('act').isDisabled(), 'it begins without a reason');
  await dialog().getByLabel('Reason').fill('a new disk');
  await act();
  await gone(dialog());
  await shows(page.getByTestId(`node-${node}`).getByText(/maintenance until/));
  await button(`More for ${node}`).click();
  await page.getByText('End maintenance').click();
  await gone(page.getByTestId(`node-${node}`).getByText(/maintenance until/));
});

let added = '';
await flow('a node is added', [['POST', '/clusters/{id}/nodes']], async () => {
  await settled(id);
  await go(`/clusters/${id}/nodes`);
  await button('Add node').click();
  const name = await dialog().getByLabel('Name').inputValue();
  must(name !== '', 'no name was proposed');
  await until('a host to choose', uiMs, async () => (await dialog().getByLabel('Host').inputValue()) !== '');
  await done(await act());
  added = name;
  await shot('node-added');
});

await flow('a node is removed only by its name', [['POST', '/clusters/{id}/nodes/{node}/remove']], async () => {
  must(added !== '', 'no node was added');
  await settled(id);
  await go(`/clusters/${id}/nodes`);
  await button(`More for ${added}`).click();
  await page.getByText('Remove node…').click();
  await typeName(`${added}x`);
  must(await page.getByTestId('act').isDisabled(), 'a wrong name removes');
  await typeName(added);
  await dialog().getByLabel('Delete its data folder too').check();
  await done(await act());
  await go(`/clusters/${id}/nodes`);
  await shows(page.getByTestId(/^node-/));
  await gone(page.getByTestId(`node-${added}`));
});

await flow('a backup is taken and listed', [['POST', '/clusters/{id}/backups']], async () => {
  await settled(id);
  const before = ((await call('GET', `/clusters/${id}/backups`)).json.backups ?? []).length;
  await go(`/clusters/${id}/backups`);
  await shows(page.getByText('What can be restored'));
  await button('Back up now').click();
  await dialog().getByLabel('Reason').fill('before the release');
  await done(await act());
  await until('one more backup', uiMs, async () => (await page.getByTestId('backup-row').count()) > before);
  await shot('backup-taken');
});

await flow('a backup is verified', [['POST', '/clusters/{id}/backups/{backup}/verify']], async () => {
  await settled(id);
  await go(`/clusters/${id}/backups`);
  await page.getByRole('button', { name: /^More for the backup/ }).first().click();
  await page.getByText('Verify now').click();
  await done(await act());
  await shows(page.getByTestId('backup-row').getByText('Verified'));
});

await flow('restoring in place asks for the name, beside gives a new cluster', [['POST', '/clusters/{id}/backups/{backup}/restore']], async () => {
  await settled(id);
  await go(`/clusters/${id}/backups`);
  await button('Restore').first().click();
  await dialog().getByLabel('In place').check();
  must(await page.getByTestId('act').isDisabled(), 'in place goes without the name');
  await dialog().getByLabel('Beside, as a new cluster').check();
  await dialog().getByLabel('Name of the new cluster').fill('beside');
  const answer = await act();
  if (answer.credentials) await stored();
  await done(answer);
});

await flow('a policy is changed with its consequence, a wrong network is not', [['PUT', '/clusters/{id}/settings']], async () => {
  await go(`/clusters/${id}/settings`);
  await page.getByLabel('Networks, one a line').fill('10.0.0.0/99');
  await shows(page.getByText('10.0.0.0/99 is not a network.'));
  must(await button('Save settings').isDisabled(), 'a wrong network can be saved');
  await button('Discard').click();
  const words = { off: 'do nothing', 'no-loss': 'promote a replica that holds every acknowledged write', 'bounded-loss': 'promote the best replica within a bound' };
  const policy = async () => (await call('GET', `/clusters/${id}/settings`)).json.policy.failover;
  const present = await policy();
  for (const wanted of [present === 'off' ? 'bounded-loss' : 'off', present]) {
    await page.getByLabel(words[wanted]).check();
    await button('Save settings').click();
    await until(`the policy ${wanted}`, uiMs, async () => (await policy()) === wanted);
    await gone(page.getByText('not saved yet'));
  }
  await shot('settings');
});

await flow('an engine user is added, its password shown once', [['POST', '/clusters/{id}/users']], async () => {
  await settled(id);
  await go(`/clusters/${id}/settings`);
  await button('Add user').click();
  await dialog().getByLabel('Name').fill('reporting');
  await dialog().getByLabel('read', { exact: true }).check();
  await act();
  await stored();
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

await flow('the planner names who would take over', [['GET', '/clusters/{id}/what-if']], async () => {
  const c = await settled(id);
  await go(`/clusters/${id}`);
  await shows(page.getByTestId('what-if').getByText(/would take over within/));
  const said = await page.getByTestId('what-if').innerText();
  must(c.nodes.some((n) => n.role === 'replica' && said.includes(n.name)), `no replica is named: ${said}`);
});

await flow('a killed primary is replaced by itself and comes back as a replica', [['POST', '/clusters/{id}/failover/acknowledge']], async () => {
  await settled(id);
  await until('a guarded lease', workMs, async () => (await detail(id)).lease?.state === 'held');
  await go(`/clusters/${id}/nodes`);
  const c = await settled(id);
  const old = c.nodes.find((n) => n.name === c.primary.node);
  await shows(page.locator(`[data-testid="node-${old.name}"][data-role=primary]`));
  await page.evaluate(() => (window.notReloaded = true));
  process.kill(old.pid, 'SIGKILL');
  const next = await until('another primary', workMs, async () => {
    const now = (await detail(id)).primary?.node;
    return now && now !== old.name ? now : null;
  });
  await shows(page.locator(`[data-testid="node-${next}"][data-role=primary]`));
  await shows(page.locator(`[data-testid="node-${old.name}"][data-role=replica]`));
  must(await page.evaluate(() => window.notReloaded === true), 'the page was loaded again');
  await settled(id);
  await shot('after-failover');
  await go(`/clusters/${id}`);
  await shows(page.getByText('Last activity'));
  const cooling = button('Acknowledge and end the cool-down');
  if (await cooling.isVisible()) {
    await cooling.click({ timeout: 5000 }).catch(() => {}); // it may be over at any moment
    await gone(cooling);
  }
});

await flow('a promotion is scheduled and cancelled', [['GET', '/clusters/{id}/schedules']], async () => {
  const node = await replica();
  await go(`/clusters/${id}?promote=${node}`);
  await page.getByTestId('typed-name').waitFor();
  const then = new Date(Date.now() + 5 * 86_400_000);
  const two = (n) => String(n).padStart(2, '0');
  await page.getByRole('button', { name: 'At a set time' }).click();
  await page.getByLabel('Time, on this computer’s clock').fill(`${then.getFullYear()}-${two(then.getMonth() + 1)}-${two(then.getDate())}T03:00`);
  await typeName(node);
  await page.getByTestId('promote').click();
  await shows(page.getByText(/^Scheduled for/));
  await shot('scheduled');
  await go(`/clusters/${id}/nodes`);
  const waits = page.getByText(`${node} will be promoted at`, { exact: false });
  await shows(waits);
  await button('Cancel it').click();
  await gone(waits);
});

await flow('a person is invited, chooses a password and may only look', [['POST', '/users']], async () => {
  await go('/users');
  await button('Add user').click();
  await dialog().getByLabel('User name').fill('vera');
  await dialog().getByLabel('Viewer').check();
  await act();
  await page.getByTestId('secret').waitFor();
  const link = (await page.getByTestId('secret').innerText()).match(/\S*\/set-password#\S+/)?.[0];
  must(link, 'no link is shown');
  await stored();
  await shows(page.getByTestId('user-vera'));
  const theirs = await person();
  await theirs.goto(link.startsWith('/') ? base + link : link.replace(/^https?:\/\/[^/]+/, base));
  await theirs.locator('input[name=password]').fill('a sentence nobody guesses');
  await theirs.keyboard.press('Enter');
  await theirs.waitForURL('**/clusters');
  await theirs.goto(`${base}/clusters/${id}/nodes`);
  await theirs.getByTestId(/^node-/).first().waitFor();
  must((await theirs.getByRole('button', { name: 'Add node' }).count()) === 0, 'a viewer is offered to add a node');
  const refused = await theirs.evaluate(async (cluster) => (await fetch(`/api/v1/clusters/${cluster}/failover/pause`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"minutes":5}' })).status, id);
  must(refused === 403, `the server answered a viewer ${refused}`);
  await theirs.context().close();
});

await flow('a token is shown once and revoked', [['POST', '/tokens']], async () => {
  await go('/account');
  await button('New token').click();
  await dialog().getByLabel('Name').fill('pipeline');
  await act();
  await stored();
  const row = page.getByRole('listitem').filter({ hasText: 'pipeline' }).last();
  await row.getByRole('button', { name: 'Revoke' }).click();
  await act();
  await gone(dialog());
});

await flow('activity lists what was done, the chain is intact', [['GET', '/activity'], ['GET', '/audit/verify']], async () => {
  await go('/activity');
  await shows(page.getByTestId('audit-row'));
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
  const firing = (await call('GET', '/alerts')).json.alerts.filter((a) => a.state === 'firing');
  if (firing.length === 0) return;
  const row = page.getByTestId('alert').filter({ hasText: firing[0].sentence }).first();
  const acknowledge = row.getByRole('button', { name: 'Acknowledge' });
  await until('it does not fire any more', workMs, async () => {
    if ((await call('GET', '/alerts')).json.alerts.every((a) => a.id !== firing[0].id || a.state !== 'firing')) return true;
    // It may resolve by itself at any moment.
    if (!(await dialog().isVisible())) await acknowledge.click({ timeout: 5000 });
    await act();
    return false;
  });
});

await flow('a webhook is kept and gets a test message', [['PUT', '/notifications'], ['POST', '/notifications/test']], async () => {
  const got = [];
  const receiver = createServer((req, res) => {
    let body = '';
    req.on('data', (d) => (body += d));
    req.on('end', () => {
      got.push({ signature: req.headers['baton-signature'], body });
      res.end();
    });
  });
  await new Promise((r) => receiver.listen(0, '127.0.0.1', r));
  try {
    await go('/settings');
    await button('Add a webhook').click();
    const address = `http://127.0.0.1:${receiver.address().port}/baton`;
    await page.getByLabel('Address of the webhook').last().fill(address);
    await page.getByLabel('Secret of the webhook').last().fill('to sign with');
    await button('Save').click();
    await until('the webhook', uiMs, async () => (await call('GET', '/notifications')).json.webhooks.some((h) => h.url === address));
    await button('Send a test').click();
    await until('the message', uiMs, () => got.length > 0);
    must(/^t=\d+,v1=[0-9a-f]{64}$/.test(got[0].signature ?? ''), `it is signed ${got[0].signature}`);
    await shows(page.getByText('Sent', { exact: true }));
    await button('Remove').last().click();
    await button('Save').click();
    await until('no webhook', uiMs, async () => ((await call('GET', '/notifications')).json.webhooks ?? []).every((h) => h.url !== address));
  } finally {
    receiver.close();
  }
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
  const sent = page.waitForResponse((r) => r.request().method() === 'POST' && r.url() === `${base}/api/v1/clusters`);
  await button('Create made-here').click();
  const answer = await (await sent).json();
  await stored('Watch it being created');
  await done(answer);
  await until('a primary', workMs, async () => (await detail('made-here')).primary !== null);
  await shot('created');
});

await flow('clusters are deleted in two acts', [['POST', '/clusters/{id}/delete']], async () => {
  const present = (await call('GET', '/clusters')).json.clusters.map((c) => c.id);
  for (const name of ['made-here', 'beside'].filter((n) => present.includes(n))) {
    await until(`nothing runs on ${name}`, workMs, async () => (await detail(name)).runningOperation === null);
    await go(`/clusters/${name}/settings`);
    const remove = button(`Delete ${name}…`);
    await shows(remove);
    const shield = page.getByLabel('This cluster cannot be deleted');
    if (await shield.isChecked()) {
      must(await remove.isDisabled(), 'a protected cluster can be deleted');
      await shield.uncheck({ force: true });
      await button('Save settings').click();
    }
    await remove.click();
    await typeName(name);
    await dialog().getByLabel('Delete the data folders too').check();
    await done(await act());
  }
  await shot('deleted');
});

await flow('streams are listed, read page by page, written to and deleted', [['GET', '/clusters/{id}/streams']], async () => {
  const store = (await call('GET', '/clusters')).json.clusters.find((c) => c.engine === 'eventstore' && c.primary)?.id;
  must(store, 'there is no event store');
  await go(`/clusters/${store}/streams`);
  await page.getByTestId(/^stream-order-/).first().getByRole('button').click();
  await shows(page.getByTestId('event'));
  await shows(page.getByText('Metadata of the stream'));
  const newest = await page.getByTestId('event').first().innerText();
  await button('Older').click();
  await page.waitForURL(/from=/);
  await until('older events', uiMs, async () => (await page.getByTestId('event').first().innerText()) !== newest);
  await shot('stream');
  for (const count of [1, 2]) {
    await button('Append an event').click();
    await dialog().getByLabel('Stream').fill('tried-here');
    await dialog().getByLabel('Type').fill('tried');
    await dialog().getByLabel('Data, JSON').fill('{"a": ');
    must(await page.getByTestId('act').isDisabled(), 'what is no JSON can be appended');
    await dialog().getByLabel('Data, JSON').fill(`{"times": ${count}}`);
    await act();
    await page.waitForURL(/stream=tried-here/);
    await until(`${count} events`, uiMs, async () => (await page.getByTestId('event').count()) === count);
  }
  await button('Delete…').click();
  await typeName('tried-there');
  must(await page.getByTestId('act').isDisabled(), 'a wrong name deletes');
  await typeName('tried-here');
  await act();
  await gone(dialog());
  await go(`/clusters/${store}/streams?stream=tried-here`);
  await shows(page.getByText('There is no such stream').or(page.getByText('It holds no event that can be read')));
});

await flow('dialogs work by keyboard', [], async () => {
  const node = await replica();
  await go(`/clusters/${id}/nodes`);
  await button(`More for ${node}`).focus();
  await page.keyboard.press('Enter');
  await shows(page.getByRole('menuitem', { name: 'Resync…' }));
  await page.keyboard.press('ArrowDown');
  await page.getByRole('menuitem', { name: 'Resync…' }).focus();
  await page.keyboard.press('Enter');
  await dialog().waitFor();
  await until('the focus is in the dialog', uiMs, () => page.evaluate(() => document.querySelector('[role=dialog]')?.contains(document.activeElement)));
  for (let i = 0; i < 12; i++) await page.keyboard.press('Tab');
  must(await page.evaluate(() => document.querySelector('[role=dialog]')?.contains(document.activeElement)), 'the focus leaves the dialog');
  await page.keyboard.press('Escape');
  await gone(dialog());
  await go('/clusters');
  await shows(page.getByRole('main').getByRole('link', { name: id }));
  await page.keyboard.press('Tab');
  must((await page.evaluate(() => document.activeElement?.textContent)) === 'Skip to the content', 'the first stop does not skip the navigation');
});

await flow('every page is accessible and still where less motion is asked for', [], async () => {
  const operation = (await call('GET', `/clusters/${id}/audit`)).json.rows.find((r) => r.operationId)?.operationId;
  const paths = ['/clusters', `/clusters/${id}`, `/clusters/${id}/nodes`, `/clusters/${id}/backups`, `/clusters/${id}/audit`, `/clusters/${id}/settings`, `/clusters/${id}?promote=${await replica()}`,
    `/clusters/${id}/operations/${operation}`, '/clusters/demo', '/clusters/demo/streams', '/activity', '/backups', '/alerts', '/approvals', '/hosts', '/users', '/settings', '/account', '/clusters/new', '/clusters/adopt'];
  await page.emulateMedia({ reducedMotion: 'reduce' });
  const bad = [];
  for (const [scheme, list] of [['light', paths], ['dark', ['/clusters', `/clusters/${id}`, `/clusters/${id}/nodes`, `/clusters/${id}/settings`]]]) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    for (const path of list) {
      await go(path);
      await shows(page.getByRole('heading', { level: 1 }).or(page.getByTestId('typed-name')));
      await until(`${path} is loaded`, uiMs, () => page.evaluate(() => document.querySelector('.mantine-Skeleton-root') === null));
      for (const v of await axe(page)) bad.push(`${path} ${scheme}: ${v}`);
      const moving = await page.evaluate(() => document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations === Infinity).length);
      if (moving > 0) bad.push(`${path} ${scheme}: ${moving} animations go on for ever`);
    }
  }
  must(bad.length === 0, `${bad.length}: ${bad.join('; ')}`);
});

process.exit(await end());
