// Machines through the dashboard of a running Baton: accounts at a provider,
// machines that are made and join, an installation over SSH, and the restart of
// a cluster's servers one by one.
//
// Environment: see driver.mjs, and
//   ONLY                              regular expression over the names of flows
//   BATON_PROVIDER                    address of a server that keeps to Hetzner Cloud's contract, whose machines boot
//   BATON_PROVIDER_TOKEN              the token it takes
//   BATON_SSH_PORT, BATON_SSH_KEY     a machine on loopback that root may reach, and the file with the key
//   BATON_SSH_HOST_KEY                the fingerprint it shows
// Without one of these its flows are noted as not tried.

import { readFileSync } from 'node:fs';
import { axe } from './axe.mjs';
import { base, drive, must, uiMs, until, workMs } from './driver.mjs';

const only = new RegExp(process.env.ONLY ?? '.');
const { page, step, shot, call, signIn, end } = await drive('hosts');
const button = (name) => page.getByRole('button', { name, exact: true });
const dialog = () => page.getByTestId('action-dialog');
const act = () => page.getByTestId('act');
const gone = (locator) => locator.first().waitFor({ state: 'detached' });

async function flow(name, needs, run) {
  if (!only.test(name)) return;
  const missing = needs.find((n) => !process.env[n]);
  if (missing) console.log(`note ${name}: not tried, ${missing} is not given`);
  else await step(name, run);
}

await signIn();
const machine = (name) => page.getByTestId(`machine-${name}`);
const account = 'contract';

await flow('a provider account is tried before it is kept, its token is not shown again', ['BATON_PROVIDER', 'BATON_PROVIDER_TOKEN'], async () => {
  await page.goto(`${base}/hosts`);
  await page.getByText('There is no account yet', { exact: false }).first().waitFor();
  must((await button('New machine').count()) === 0, 'a machine is offered without an account');
  await button('Add an account').click();
  must(await act().isDisabled(), 'an account without name and token can be sent');
  await dialog().getByLabel('Name').fill(account);
  await dialog().getByLabel('API token').fill('not-the-token');
  await dialog().getByLabel('Address of its API').fill(process.env.BATON_PROVIDER);
  await act().click();
  await dialog().getByText('The provider does not take the token', { exact: true }).first().waitFor();
  await shot('account-refused');
  await dialog().getByLabel('API token').fill(process.env.BATON_PROVIDER_TOKEN);
  await act().click();
  await gone(dialog());
  await page.getByTestId(`account-${account}`).waitFor();
  must(!(await page.content()).includes(process.env.BATON_PROVIDER_TOKEN), 'the token stands in the page');
  const kept = await call('GET', '/provider-accounts');
  must(!JSON.stringify(kept.json).includes(process.env.BATON_PROVIDER_TOKEN), 'the server tells the token');
  await shot('account');
});

await flow('two machines are asked for, boot, join and are hosts', ['BATON_PROVIDER'], async () => {
  await page.goto(`${base}/hosts`);
  await button('New machine').click();
  await until('the sizes at the place', uiMs, async () => (await dialog().getByLabel('Size').inputValue()) !== '');
  await dialog().getByLabel('Place').selectOption('fsn1');
  await until('the sizes there', uiMs, async () => (await dialog().getByLabel('Size').locator('option').allInnerTexts()).some((t) => /CX22.*a month/.test(t)));
  await dialog().getByLabel('Size').selectOption('cx22');
  await dialog().getByLabel('Name').fill('rented');
  await dialog().getByLabel('How many').fill('2');
  await dialog().getByText('baton hosts create rented-1', { exact: false }).first().waitFor();
  await act().click();
  await dialog().getByText('The machine could not fetch the agent', { exact: true }).first().waitFor();
  await shot('machine-refused');
  await dialog().getByLabel('Where it fetches the program').fill(`${base}/api/v1/program`);
  await act().click();
  await gone(dialog());
  await machine('rented-1').waitFor();
  await machine('rented-2').waitFor();
  await shot('machines-asked');
  for (const name of ['rented-1', 'rented-2']) {
    await machine(name).locator('[data-state=ready]').waitFor({ timeout: workMs });
    await page.getByTestId(`host-${name}`).getByText('Connected').waitFor({ timeout: workMs });
  }
  await shot('machines-joined');
});

await flow('a machine is deleted by its name only, its account stays while one is there', ['BATON_PROVIDER'], async () => {
  await page.goto(`${base}/hosts`);
  await button('Delete the machine rented-1').click();
  await page.getByTestId('typed-name').fill('rented-2');
  must(await act().isDisabled(), 'another name deletes it');
  await page.getByTestId('typed-name').fill('rented-1');
  await act().click();
  await gone(dialog());
  await machine('rented-1').waitFor({ state: 'detached', timeout: workMs });
  await page.getByTestId('host-rented-1').waitFor({ state: 'detached', timeout: workMs });
  await button(`Forget the account ${account}`).click();
  await page.getByTestId('typed-name').fill(account);
  await act().click();
  await dialog().getByText('Not now', { exact: true }).first().waitFor();
  await shot('account-in-use');
  await page.keyboard.press('Escape');
  await gone(dialog());
  await button('Delete the machine rented-2').click();
  await page.getByTestId('typed-name').fill('rented-2');
  await act().click();
  await gone(dialog());
  await machine('rented-2').waitFor({ state: 'detached', timeout: workMs });
  await button(`Forget the account ${account}`).click();
  await page.getByTestId('typed-name').fill(account);
  await act().click();
  await gone(page.getByTestId(`account-${account}`));
});

await flow('the agent is installed over SSH once the machine’s key is confirmed', ['BATON_SSH_PORT', 'BATON_SSH_KEY', 'BATON_SSH_HOST_KEY'], async () => {
  await page.goto(`${base}/hosts`);
  await button('Install over SSH').click();
  await dialog().getByLabel('Address').fill('127.0.0.1');
  await dialog().getByLabel('Port').fill(process.env.BATON_SSH_PORT);
  await dialog().getByLabel('User').fill('root');
  await dialog().getByRole('textbox', { name: 'Private key' }).fill(readFileSync(process.env.BATON_SSH_KEY, 'utf8'));
  await dialog().getByLabel('Name').fill('by-ssh');
  await act().click();
  await page.getByTestId('host-key').waitFor();
  must((await page.getByTestId('host-key').innerText()).trim() === process.env.BATON_SSH_HOST_KEY, 'another key is shown');
  must(await act().isDisabled(), 'it is installed without confirming the key');
  await shot('ssh-key');
  await dialog().getByLabel('It is the same key').check();
  await act().click();
  await page.locator('[data-testid=host-task][data-state=done]').waitFor({ timeout: workMs });
  await shot('ssh-done');
  await page.getByTestId('host-task').getByRole('button', { name: 'Close' }).click();
  await page.getByTestId('host-by-ssh').getByText('Connected').waitFor({ timeout: workMs });
});

await flow('servers restart one by one and take the new value, the primary last', [], async () => {
  const settled = () =>
    until('a Redis cluster at rest', workMs, async () => {
      const listed = (await call('GET', '/clusters')).json.clusters.find((c) => c.engine === 'redis' && c.primary);
      const c = listed && (await call('GET', `/clusters/${listed.id}`)).json;
      return c?.primary && c.runningOperation === null && c.verdict.level === 'healthy' && c.membersUp === c.membersTotal ? c : null;
    });
  const over = (id) =>
    until(`the end of operation ${id}`, workMs, async () => {
      const o = (await call('GET', `/operations/${id}`)).json;
      return ['requested', 'running'].includes(o.state) ? null : o;
    });
  const sent = (method, path) => page.waitForResponse((r) => r.request().method() === method && r.url().endsWith(path));
  const before = await settled();
  await page.goto(`${base}/clusters/${before.id}/settings`);
  const field = page.getByLabel('databases', { exact: true });
  await field.fill('24');
  await page.getByText('at the next restart', { exact: false }).first().waitFor();
  let applied = null;
  for (let tries = 0; applied === null || (applied.status() === 409 && tries < 4); tries++) {
    if (tries > 0) await settled(); // another operation had begun meanwhile
    const put = sent('PUT', '/parameters');
    await page.getByRole('region', { name: 'Parameters' }).getByRole('button', { name: 'Apply' }).click();
    applied = await put;
  }
  must(applied.ok(), `the change answered ${applied.status()} ${await applied.text()}`);
  const changed = await over((await applied.json()).operationId);
  must(changed.state === 'done', `the change ended ${changed.state}: ${changed.outcome}`);
  await settled();
  await page.goto(`${base}/clusters/${before.id}/settings`);
  await page.getByText('becomes 24 at the next start').first().waitFor();
  await shot('parameter-waits');
  // Another operation may have begun meanwhile: a backup after a promotion.
  let op = null;
  for (let tries = 0; op === null || (op.state === 'rolled-back' && tries < 4); tries++) {
    await settled();
    await page.goto(`${base}/clusters/${before.id}/settings`);
    await button('Restart one by one…').click();
    await page.getByTestId('typed-name').fill('another');
    must(await act().isDisabled(), 'another name restarts it');
    await page.getByTestId('typed-name').fill(before.name);
    const post = sent('POST', '/restart');
    await act().click();
    const answer = await post;
    if (answer.status() === 409 && tries < 4) {
      await page.keyboard.press('Escape');
      continue;
    }
    must(answer.status() === 202, `the restart answered ${answer.status()} ${await answer.text()}`);
    const id = (await answer.json()).operationId;
    await page.getByTestId('operation').waitFor();
    await shot('restart-runs');
    op = await over(id);
  }
  must(op.state === 'done', `the restart ended ${op.state}: ${op.outcome}; ${op.steps.map((s) => `${s.id} ${s.state} ${s.detail}`).join('; ')}`);
  await page.locator('[data-testid=operation][data-state=done]').waitFor();
  await shot('restart-done');
  const after = await settled();
  must(after.primary.node !== before.primary.node, 'the primary was restarted while it was primary');
  await until('the value everywhere', uiMs, async () => (await call('GET', `/clusters/${before.id}/parameters`)).json.parameters.some((p) => p.name === 'databases' && p.value === '24' && p.pending === null));
});

await flow('the page of hosts is accessible, in both schemes and at 390 px', [], async () => {
  const bad = [];
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.goto(`${base}/hosts`);
    await page.getByRole('heading', { name: 'Machines from a provider' }).waitFor();
    await page.getByTestId(/^host-/).first().waitFor();
    for (const v of await axe(page)) bad.push(`${scheme}: ${v}`);
    await shot(`${scheme}-1440`);
    await button('Add an account').click();
    await act().waitFor();
    for (const v of await axe(page)) bad.push(`${scheme} account: ${v}`);
    await page.setViewportSize({ width: 390, height: 844 });
    await until(`${scheme} fits into 390 px`, uiMs, () => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth));
    await shot(`${scheme}-390-account`);
    await page.keyboard.press('Escape');
    await gone(dialog());
    await shot(`${scheme}-390`);
  }
  must(bad.length === 0, bad.slice(0, 4).join(' | '));
});

process.exit(await end());
