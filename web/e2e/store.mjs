// The pages of an event store through the dashboard of a running Baton, driven
// by Chromium as a person would: subscriptions, projections, accounts.
//
// Environment: see driver.mjs.

import { base, drive, must, uiMs, until, workMs } from './driver.mjs';
import { axe } from './axe.mjs';

const { page, step, shot, call, signIn, end } = await drive('store');
const go = (path) => page.goto(base + path);
const dialog = () => page.getByTestId('action-dialog');
const button = (name) => page.getByRole('button', { name, exact: true });
const shows = (locator) => locator.first().waitFor();
const gone = (locator) => locator.first().waitFor({ state: 'detached' });

/** Presses the dialog's button, waits for the answer and for the dialog to close. */
async function act() {
  const sent = page.waitForResponse((r) => r.request().method() !== 'GET' && r.url().startsWith(`${base}/api/v1/`));
  await page.getByTestId('act').click();
  const answer = await sent;
  const json = await answer.json().catch(() => null);
  must(answer.ok(), `${answer.status()} ${json?.title ?? ''}: ${json?.detail ?? ''}`);
  await gone(dialog());
  return json;
}

/** What axe finds on the page as it is. */
async function accessible(where) {
  const found = await axe(page);
  must(found.length === 0, `${where}: ${found.join('; ')}`);
}

await signIn();
const store = await until('an event store that is led', workMs, async () => (await call('GET', '/clusters')).json.clusters.find((c) => c.engine === 'eventstore' && c.primary)?.id);
const at = (what) => `/clusters/${store}/${what}`;
/** Audited sentences about the store, newest first. */
const audited = async () => (await call('GET', `/clusters/${store}/audit`)).json.rows.map((r) => r.what);

await step('a subscription is made, changed and deleted', async () => {
  await go(at('subscriptions'));
  await button('New subscription').click();
  await dialog().getByLabel('Stream', { exact: true }).fill('tried-by-a-browser');
  must(await page.getByTestId('act').isDisabled(), 'one without a name can be made');
  await dialog().getByLabel('Name of the subscription').fill('billing');
  await shows(dialog().getByText(/baton subscriptions create \S+ tried-by-a-browser billing/));
  await act();
  await page.waitForURL(/group=billing/);
  await shows(page.getByText('0 consumers'));
  await accessible('a subscription');
  await button('Settings…').click();
  must(await page.getByTestId('act').isDisabled(), 'nothing can be changed to nothing');
  await dialog().getByLabel('Pinned by stream').check();
  await dialog().getByLabel('Sent again').fill('3');
  await shows(dialog().getByText(/--strategy Pinned --retries 3/));
  await act();
  await shows(page.getByText('3 times, then parked'));
  await button('All subscriptions').click();
  await shows(page.getByTestId('subscription-billing'));
  await accessible('the subscriptions');
  await shot('subscriptions');
  await page.getByTestId('subscription-billing').getByRole('button').first().click();
  await button('Delete…').click();
  await page.getByTestId('typed-name').fill('tried-by-a-browser');
  must(await page.getByTestId('act').isDisabled(), 'a wrong name deletes');
  await page.getByTestId('typed-name').fill('billing');
  await act();
  await until('it is gone from the list', uiMs, async () => (await page.getByTestId('subscription-billing').count()) === 0 && !page.url().includes('group='));
  await until('all of it is audited', uiMs, async () => {
    const rows = await audited();
    return ['made subscription billing', 'changed subscription billing', 'deleted subscription billing'].every((w) => rows.some((r) => r.startsWith(w)));
  });
});

await step('a projection is made, counts, is changed and deleted', async () => {
  await go(at('projections'));
  await shows(page.getByTestId('projection-$by_category'));
  await accessible('the projections');
  await shot('projections');
  await button('New projection').click();
  await dialog().getByLabel('Name', { exact: true }).fill('tried-totals');
  await shows(dialog().getByText(/baton projections create \S+ tried-totals/));
  await act();
  await page.waitForURL(/projection=tried-totals/);
  await until('it has counted', workMs, async () => /order-placed/.test(await page.getByTestId('state').innerText()));
  must(/outputState/.test(await page.getByTestId('source').innerText()), 'the source is not shown');
  await accessible('a projection');
  await shot('projection');
  await button('Edit…').click();
  const source = dialog().getByLabel('Source, JavaScript');
  await source.fill('fromAll(');
  await page.getByTestId('act').click();
  await shows(dialog().getByRole('alert'));
  await source.fill('fromAll().when({ $init: () => ({ n: 0 }), $any: (s) => { s.n += 1; return s; } })');
  await act();
  await until('the new source is shown', uiMs, async () => /s\.n \+= 1/.test(await page.getByTestId('source').innerText()));
  await button('Reset…').click();
  await page.getByTestId('typed-name').fill('tried-totals');
  await act();
  await until('it counts by the new source', workMs, async () => /"n"/.test(await page.getByTestId('state').innerText()));
  await button('Disable…').click();
  await act();
  await shows(button('Enable…'));
  await button('Delete…').click();
  await page.getByTestId('typed-name').fill('tried-totals');
  await act();
  await until('it is gone from the list', uiMs, async () => (await page.getByTestId('projection-tried-totals').count()) === 0 && !page.url().includes('projection='));
});

await step('an event store without security says so, and offers nothing', async () => {
  await go(at('users'));
  await shows(page.getByText('This event store runs without security'));
  await shows(page.getByText('None is needed'));
  must((await button('New account').count()) === 0 && (await button('Give one…').count()) === 0, 'accounts are offered where there are none');
  await accessible('the accounts');
});

process.exit(await end());
