// The dashboard of a running Baton, driven by Chromium as a person would:
// set-up link, sign-in, a promotion with a wrong name (refused, also by the
// server alone), one with the right name (done), roles that change on the page
// without a reload, the audit, the way back.
//
// Environment: see driver.mjs. Exit code 0 when every step passed. The last
// line counts them.

import { base, drive, must, password, token, uiMs, until, username } from './driver.mjs';

/** A cluster that just started founds itself, elects and is observed within this time. */
const readyMs = 180_000;

const { page, step, shot, call, end } = await drive('promote');

const cluster = async (id) => (await call('GET', `/clusters/${id}`)).json;
const leads = (n) => n.role === 'leader' || n.role === 'primary';

/** Longer than the hold-off after which priority moves leadership in a young cluster. */
const settledMs = 7_000;

/** Waits for a node that follows and may be promoted; the cluster must have had its leader for a while. */
const candidate = (id) => {
  let leader = null;
  let since = 0;
  return until(`a promotable follower in ${id}`, readyMs, async () => {
    const c = await cluster(id);
    if ((c?.primary?.node ?? null) !== leader) {
      leader = c?.primary?.node ?? null;
      since = Date.now();
    }
    const to = (c?.nodes ?? []).find((n) => (n.role === 'follower' || n.role === 'replica') && n.promotable.ok);
    return leader && to && Date.now() - since >= settledMs ? { from: leader, to: to.name, generation: c.generation } : null;
  });
};

/** Promotes through the dialog that is open and waits for its result. */
async function confirm(name) {
  await page.getByTestId('typed-name').fill(name);
  await page.getByTestId('promote').click();
  await page.locator('[data-testid=operation]').waitFor();
}
async function result() {
  const panel = page.locator('[data-testid=operation]');
  const state = await until('the end of the operation', readyMs, async () => {
    const s = await panel.getAttribute('data-state');
    return s && s !== 'running' && s !== 'requested' ? s : null;
  });
  must(state === 'done', `the operation ended ${state}: ${await panel.innerText()}`);
  return panel;
}

try {
  if (token !== '') {
    await step('the set-up link makes the first user and signs in', async () => {
      await page.goto(`${base}/setup#token=${token}`);
      await page.locator('input[name=username]').fill(username);
      await page.locator('input[name=password]').fill(password);
      await shot('set-up');
      must(!page.url().includes(token), 'the token stays in the address bar');
      await page.getByRole('button', { name: 'Create user and sign in' }).click();
      await page.getByRole('heading', { name: 'Clusters' }).waitFor();
    });
    await step('the set-up link works once', async () => {
      const again = await call('POST', '/setup', { token, username: 'other', password });
      must(again.status >= 400, `a second use answered ${again.status}`);
    });
    await step('signing out ends the session', async () => {
      await page.getByRole('button', { name: /account and appearance/ }).first().click();
      await page.getByRole('menuitem', { name: 'Sign out' }).click();
      await page.getByRole('heading', { name: 'Sign in' }).waitFor();
      must((await call('GET', '/clusters')).status === 401, 'clusters are shown to nobody in particular');
    });
  } else {
    await page.goto(base);
  }

  await step('a wrong password is refused, the right one signs in', async () => {
    await page.locator('input[name=username]').fill(username);
    await page.locator('input[name=password]').fill('not the password at all');
    await page.keyboard.press('Enter');
    await page.getByText('User name or password is wrong').waitFor();
    await shot('sign-in-refused');
    await page.locator('input[name=password]').fill(password);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Clusters' }).waitFor();
  });

  let id = '';
  await step('the list shows the event-store cluster with its verdict', async () => {
    const c = await until('an event-store cluster with a leader', readyMs, async () =>
      (await call('GET', '/clusters')).json?.clusters?.find((x) => x.engine === 'eventstore' && x.primary),
    );
    id = c.id;
    await page.getByRole('main').getByRole('link', { name: c.name }).waitFor();
    await shot('clusters');
  });

  let roles = await candidate(id);
  const firstLeader = roles.from;
  await step('the overview draws every node and follows events', async () => {
    await page.getByRole('main').getByRole('link', { name: id }).first().click();
    for (const n of (await cluster(id)).nodes) await page.getByTestId(`topology-${n.name}`).waitFor();
    await page.getByText('Live', { exact: true }).first().waitFor();
    await page.evaluate(() => (window.notReloaded = true));
    await shot('overview');
  });

  await step('a wrong name keeps Promote off', async () => {
    await page.getByRole('link', { name: /^Nodes/ }).click();
    await page.getByRole('button', { name: `Promote ${roles.to}` }).click();
    await page.getByTestId('typed-name').fill(roles.from);
    must(await page.getByTestId('promote').isDisabled(), 'Promote is on with a wrong name');
    await page.getByTestId('typed-name').press('Enter');
    await shot('promote-wrong-name');
  });

  await step('the server alone refuses a wrong name and records it', async () => {
    const plan = (await call('POST', `/clusters/${id}/plan`, { node: roles.to })).json;
    const sent = { node: roles.to, typedName: roles.from, reportHash: plan.report.hash, generation: plan.generation };
    const answer = await call('POST', `/clusters/${id}/promotions`, sent);
    must(answer.status === 422 && answer.json?.code === 'typed-name-mismatch', `answered ${answer.status} ${answer.json?.code}`);
    must((await cluster(id)).primary?.node !== roles.to, 'it leads although its name was wrong');
    await until('the refusal in the audit', uiMs, async () => (await call('GET', `/clusters/${id}/audit`)).json.rows.some((r) => r.outcome === 'refused' && r.node === roles.to));
  });

  await step('the server refuses a stale report, unknown names and unknown fields', async () => {
    const plan = (await call('POST', `/clusters/${id}/plan`, { node: roles.to })).json;
    const good = { node: roles.to, typedName: roles.to, reportHash: plan.report.hash, generation: plan.generation };
    const stale = await call('POST', `/clusters/${id}/promotions`, { ...good, reportHash: 'of-another-day' });
    must(stale.status === 409 && stale.json?.code === 'stale-report', `a stale hash answered ${stale.status} ${stale.json?.code}`);
    const node = await call('POST', `/clusters/${id}/promotions`, { ...good, node: 'nobody', typedName: 'nobody' });
    must(node.status === 404, `an unknown node answered ${node.status}`);
    const other = await call('POST', '/clusters/no-such-cluster/promotions', good);
    must(other.status === 404, `an unknown cluster answered ${other.status}`);
    const field = await call('POST', `/clusters/${id}/promotions`, { ...good, forse: true });
    must(field.status === 400 || field.status === 422, `an unknown field answered ${field.status}`);
    must((await cluster(id)).primary?.node !== roles.to, 'it leads although everything was refused');
  });

  await step('a dry run changes nothing', async () => {
    await page.getByTestId('dry-run').click();
    await page.getByText('Dry run passed. Nothing was changed.').waitFor();
    must((await cluster(id)).primary?.node !== roles.to, 'it leads although nothing was to be done');
    await shot('promote-dry-run');
  });

  await step('the right name promotes', async () => {
    await confirm(roles.to);
    await shot('promote-running');
    const panel = await result();
    const said = await panel.innerText();
    must(/Longest write stall, measured/.test(said), `no measured stall: ${said}`);
    must(/Acknowledged writes lost\s+0\b/.test(said), `the proof does not say 0 lost: ${said}`);
    await shot('promote-done');
  });

  await step('roles change on the page without a reload', async () => {
    await page.locator(`[data-testid="node-${roles.to}"][data-role=leader]`).waitFor();
    await page.locator(`[data-testid="node-${roles.from}"]:not([data-role=leader])`).waitFor();
    must(await page.evaluate(() => window.notReloaded === true), 'the page was loaded again');
    await shot('nodes-after');
    await page.getByRole('link', { name: 'Overview' }).click();
    await page.locator(`[data-testid="topology-${roles.to}"][data-role=leader]`).waitFor();
    await shot('overview-after');
  });

  await step('the audit tells both attempts, with steps', async () => {
    await page.getByRole('link', { name: 'Audit', exact: true }).click();
    await page.locator('[data-testid=audit-row][data-outcome=refused]').first().waitFor();
    const done = page.locator('[data-testid=audit-row][data-outcome=done]').first();
    await done.waitFor();
    must((await done.innerText()).includes(roles.to), 'the newest done row is of another node');
    await shot('audit');
    await done.getByRole('button').click();
    await page.getByText('Point of no return').first().waitFor();
    await shot('audit-steps');
    await page.keyboard.press('Escape');
  });

  await step('switching back works', async () => {
    await page.getByRole('button', { name: 'Switch back' }).click();
    await page.getByTestId('typed-name').waitFor();
    await shot('switch-back');
    await confirm(firstLeader);
    await until(`${firstLeader} leads`, uiMs, async () => (await cluster(id)).primary?.node === firstLeader);
    await page.getByText(`Switched back to ${firstLeader}`).first().waitFor();
    await shot('switched-back');
  });

  const redis = (await call('GET', '/clusters')).json?.clusters?.find((c) => c.engine === 'redis' && c.primary);
  if (redis) {
    await step('a Redis replica is promoted the same way', async () => {
      roles = await candidate(redis.id);
      await page.goto(`${base}/clusters/${redis.id}?promote=${roles.to}`);
      await page.getByTestId('typed-name').waitFor();
      await shot('redis-promote');
      await confirm(roles.to);
      await result();
      await page.locator(`[data-testid="topology-${roles.to}"][data-role=primary]`).waitFor();
      await shot('redis-done');
    });
  } else {
    console.log('note no Redis cluster here: its promotion in the browser was not tried');
  }

  await step('dark and 390 px wide, nothing sticks out', async () => {
    await page.emulateMedia({ colorScheme: 'dark' });
    for (const [name, path] of [['clusters', '/clusters'], ['overview', `/clusters/${id}`], ['nodes', `/clusters/${id}/nodes`], ['audit', `/clusters/${id}/audit`], ['promote', `/clusters/${id}?promote=${(await candidate(id)).to}`]]) {
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.goto(base + path);
      await (name === 'promote' ? page.getByTestId('typed-name') : page.getByRole('main')).waitFor();
      await page.waitForLoadState('load');
      await shot(`dark-${name}`);
      await page.setViewportSize({ width: 390, height: 844 });
      await until(`${path} fits into 390 px`, uiMs, () => page.evaluate(() => document.documentElement.scrollWidth <= document.documentElement.clientWidth));
      await page.evaluate(() => Promise.all(document.getAnimations().filter((a) => a.effect?.getComputedTiming().iterations === 1).map((a) => a.finished.catch(() => {}))));
      await shot(`phone-${name}`);
    }
  });

} catch (error) {
  await step('the script itself', () => Promise.reject(error));
}
process.exit(await end());
