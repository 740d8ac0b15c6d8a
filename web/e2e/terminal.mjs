// Terminals on nodes through the dashboard of a running Baton with a Redis
// cluster, driven by Chromium as a person would: reading, asking to write,
// following a promotion, a shell of the host, an end by an administrator, the
// recording.
//
// Environment: see driver.mjs.

import { axe } from './axe.mjs';
import { base, drive, must, uiMs, until, workMs } from './driver.mjs';

const { page, step, shot, call, signIn, end } = await drive('terminal');
const button = (name) => page.getByRole('button', { name, exact: true });
const banner = () => page.getByTestId('terminal-banner');
const rows = () => page.locator('[data-testid=terminal-screen] .xterm-rows');

/** Waits until the screen holds a text; long lines may be broken. */
const shows = (text) =>
  until(`the terminal shows ${JSON.stringify(text)}`, uiMs, async () => {
    const seen = (await rows().innerText()).replaceAll('\u00a0', ' ');
    must(seen.includes(text) || seen.replaceAll('\n', '').includes(text), `it shows ${JSON.stringify(seen.trim())}`);
    return true;
  });

async function type(text) {
  await page.locator('[data-testid=terminal-screen] textarea').focus();
  await page.keyboard.type(text);
  await page.keyboard.press('Enter');
}

async function open(node, what) {
  await page.goto(`${base}/clusters/${id}/terminal?on=${node}`);
  await page.getByTestId('open-terminal').getByLabel(what).check();
  const name = page.getByTestId('typed-name');
  await until('the button is on', uiMs, async () => {
    if ((await name.isVisible()) && (await name.inputValue()) === '') {
      must(await button('Open terminal').isDisabled(), 'it opens without the name');
      await name.fill(node);
    }
    return button('Open terminal').isEnabled();
  });
  await button('Open terminal').click();
  await banner().waitFor();
}

const ended = async () => {
  await page.getByTestId('terminal-ended').waitFor();
  return page.getByTestId('terminal-ended').innerText();
};

await signIn();
/** A Redis cluster at rest. */
const settled = () =>
  until('a Redis cluster at rest', workMs, async () => {
    const listed = (await call('GET', '/clusters')).json.clusters.find((c) => c.engine === 'redis' && c.primary);
    const c = listed && (await call('GET', `/clusters/${listed.id}`)).json;
    return c?.primary && c.runningOperation === null && c.membersUp === c.membersTotal && c.nodes.some((n) => n.role === 'replica' && n.status.level === 'up') ? c : null;
  });
const cluster = await settled();
const id = cluster.id;
const primary = cluster.primary.node;
const replica = cluster.nodes.find((n) => n.role === 'replica' && n.status.level === 'up').name;

await step('the page of a node leads to its terminal', async () => {
  await page.goto(`${base}/clusters/${id}/nodes?node=${replica}`);
  await page.getByRole('link', { name: `Open a terminal on ${replica}` }).click();
  await page.waitForURL(`**/clusters/${id}/terminal?on=${replica}`);
  await until('the node is chosen', uiMs, async () => (await page.getByLabel('Node', { exact: true }).inputValue()) === replica);
  await page.getByText(`baton terminal ${id} ${replica}`, { exact: false }).first().waitFor({ state: 'attached' });
});

await step('a terminal reads, and says what it does not carry out', async () => {
  await open(primary, 'Engine shell, reading');
  await shows('read-only>');
  await type('PING');
  await shows('PONG');
  await type('SET baton-terminal-test 1');
  await shows('Not carried out');
  await type('REPLICAOF NO ONE');
  await shows('Refused:');
  must((await banner().getAttribute('data-mode')) === 'read', 'the banner does not say that it reads');
  await shot('reading');
});

await step('writing is asked for with the node’s name', async () => {
  await button('Allow writing…').click();
  const name = page.getByLabel(`Type ${primary} to allow writing`);
  await name.fill(replica);
  must(await button('Write to the primary').isDisabled(), 'another name allows writing');
  await name.fill(primary);
  await page.keyboard.press('Enter');
  await page.locator('[data-testid=terminal-banner][data-mode=write]').waitFor();
  await shows('WRITE>');
  await type('SET baton-terminal-test 1 EX 60');
  await shows('OK');
  await until('the command in the audit', uiMs, async () => (await call('GET', `/clusters/${id}/audit`)).json.rows.some((r) => r.what.includes('ran SET baton-terminal-test')));
});

await step('the keyboard leaves the terminal, :quit ends it, the recording replays', async () => {
  await page.locator('[data-testid=terminal-screen] textarea').focus();
  await page.keyboard.press('Shift+F6');
  await until('Shift+F6 leads to the button behind it', uiMs, () => page.evaluate(() => document.activeElement?.textContent === 'End'));
  await type(':quit');
  must(/You left this terminal/.test(await ended()), 'its end is not said');
  await page.getByRole('link', { name: 'See its recording' }).click();
  await page.getByTestId('player').waitFor();
  await button('To the end').click();
  await shows('PONG');
  await page.locator('[data-testid=player][data-over]').waitFor();
  await button('Again').waitFor();
  await shot('replay');
});

await step('the banner and the permission follow a promotion', async () => {
  await open(replica, 'Engine shell, writing');
  await page.locator('[data-testid=terminal-banner][data-mode=write][data-role=replica]').waitFor();
  await until('the promotion is done', 2 * workMs, async () => {
    const plan = (await call('POST', `/clusters/${id}/plan`, { node: replica })).json;
    const sent = { node: replica, typedName: replica, reportHash: plan.report.hash, generation: plan.generation, reason: 'to see the terminal follow' };
    const answer = await call('POST', `/clusters/${id}/promotions`, sent);
    if (answer.status !== 202) return false;
    const op = await until('its end', workMs, async () => {
      const o = (await call('GET', `/operations/${answer.json.operationId}`)).json;
      return ['requested', 'running'].includes(o.state) ? null : o;
    });
    return op.state === 'done'; // taken back, moving nothing, while a machine stands still: once more
  });
  await page.locator('[data-testid=terminal-banner][data-mode=read][data-role=primary]').waitFor({ timeout: workMs });
  await shows('The permission to write is suspended');
  await shows('(primary) read-only>');
  await shot('followed');
  await button('End').click();
  await ended();
});

await step('a shell of the host, ended by an administrator', async () => {
  const now = (await settled()).primary.node;
  await open(now, 'Shell of the host');
  await type('echo it-works-$((6*7))');
  await shows('it-works-42');
  const session = page.getByTestId('terminal-session').filter({ hasText: 'Shell of the host' }).filter({ hasText: 'Open' }); // the one before may still be listed as open
  await session.getByRole('button', { name: /^End the terminal of/ }).click();
  await page.getByTestId('action-dialog').getByLabel('Reason').fill('enough for today');
  await page.getByTestId('act').click();
  must(/ended by .*enough for today/.test(await ended()), 'who ended it, and why, is not said');
});

await step('light and dark, wide and 390 px: nothing sticks out, nothing is out of reach', async () => {
  const now = (await settled()).primary.node;
  const bad = [];
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    await page.setViewportSize({ width: 1440, height: 900 });
    await open(now, 'Engine shell, reading');
    await type('INFO server');
    await shows('redis_version');
    for (const v of await axe(page)) bad.push(`${scheme}: ${v}`);
    await shot(`${scheme}-1440`);
    await page.setViewportSize({ width: 390, height: 844 });
    await until(`${scheme} fits into 390 px`, uiMs, () => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth));
    await shot(`${scheme}-390`);
    await button('End').click();
    await ended();
  }
  must(bad.length === 0, bad.slice(0, 4).join(' | '));
});

process.exit(await end());
