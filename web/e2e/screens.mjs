// Takes a picture of every page, dialog and state from the mock control plane,
// in both widths and color schemes, and lays them out on sheets. For eyes:
// look at them. On the way it notes what a machine can see: errors on the
// console, a page wider than its window, what axe-core finds serious, a dialog
// that the keyboard cannot leave.
//
// make screenshots, or, with a build that shows every part (BATON_ROUTES=all):
//   DIST=folder OUT=folder [ONLY=regexp] [SIZES=wide,phone] [SCHEMES=light,dark] [AXE=off] npm run screens
//
// Exit code 1 when anything was noted.

import { spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { axe } from './axe.mjs';
import { edges } from './screens/edges.mjs';
import { flows } from './screens/flows.mjs';
import { layOut } from './screens/sheets.mjs';
import { matrix } from './screens/states.mjs';

const out = resolve(process.env.OUT ?? 'screens');
const only = new RegExp(process.env.ONLY ?? '.');
/** zoom is a wide window at 200 %. */
const sizes = { wide: { width: 1440, height: 900 }, phone: { width: 390, height: 844 }, zoom: { width: 720, height: 450 } };
const chosenSizes = (process.env.SIZES ?? 'wide,phone,zoom').split(',');
const chosenSchemes = (process.env.SCHEMES ?? 'light,dark').split(',');
const withAxe = process.env.AXE !== 'off';
/** No page is taller than this on its picture, pixels. */
const tallest = 6000;
/** More presses of Tab than any dialog has stops. */
const manyTabs = 40;

mkdirSync(out, { recursive: true });

/** The mock server, a process of its own on a port of its own. */
async function startMock() {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../mock/server.mjs', import.meta.url))], { env: { ...process.env, PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] });
  // It ends with this process, however that ends.
  process.on('exit', () => child.kill());
  for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));
  for await (const line of createInterface({ input: child.stdout })) {
    const base = /http:\S+/.exec(line)?.[0];
    if (base) return { base, stop: () => child.kill() };
  }
  throw new Error('the mock server did not start');
}

const mock = await startMock();
const tell = async (body) => (await fetch(`${mock.base}/__mock`, { method: 'POST', body: JSON.stringify({ reset: true, scenario: 'normal', ...body }) })).json();
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

/** Tab stays in the dialog, Escape leaves it, and what opened it has the focus again. */
async function keyboard(page, shot) {
  const dialog = page.locator('[role=dialog]').last();
  if ((await dialog.count()) === 0 || (await dialog.getByTestId('secret').count()) > 0) return [];
  const notes = [];
  const inside = () => page.evaluate(() => [...document.querySelectorAll('[role=dialog]')].some((d) => d.contains(document.activeElement)));
  if (!(await inside())) notes.push('keys: the focus is not in the dialog when it opens');
  for (let i = 0; i < manyTabs; i++) {
    await page.keyboard.press('Tab');
    if (!(await inside())) {
      notes.push(`keys: Tab ${i + 1} leaves the dialog`);
      break;
    }
  }
  await page.keyboard.press('Escape');
  await page.waitForTimeout(400);
  if ((await page.locator('[role=dialog]').count()) > 0) notes.push('keys: Escape does not close the dialog');
  else if (!shot.path.includes('?') && (await page.evaluate(() => document.activeElement === document.body || document.activeElement === null))) notes.push('keys: the focus is lost when the dialog closes');
  return notes;
}

/** Runs in the page: how tall a window shows all of the dialog, else of the page. */
function contentHeight() {
  const dialogs = [...document.querySelectorAll('[role=dialog]')].map((d) => Math.max(d.scrollHeight, ...[...d.querySelectorAll('*')].map((e) => (getComputedStyle(e).overflowY === 'auto' ? e.scrollHeight : 0))) + 160);
  return dialogs.length > 0 ? Math.max(...dialogs) : document.documentElement.scrollHeight;
}

const pictures = [];
let noted = 0;
const began = Date.now();
for (const [name, shot] of Object.entries({ ...flows, ...edges, ...matrix })) {
  if (!only.test(name)) continue;
  const taken = (shot.sizes ?? ['wide', 'phone']).filter((s) => chosenSizes.includes(s));
  if (taken.length === 0) continue;
  const notes = [];
  const { operation } = await tell({ scenario: shot.scenario, start: shot.start, hold: shot.hold, fail: shot.fail, role: shot.role });
  const context = await browser.newContext({ baseURL: mock.base, viewport: sizes[taken[0]], colorScheme: chosenSchemes[0], reducedMotion: 'reduce', timezoneId: 'UTC' });
  const page = await context.newPage();
  page.mock = tell;
  page.setDefaultTimeout(60_000);
  page.on('pageerror', (e) => notes.push(String(e)));
  page.on('console', (m) => m.type() === 'error' && !/status of (4|5)\d\d|ERR_/.test(m.text()) && notes.push(m.text()));
  try {
    await page.goto(shot.path + (shot.op ? `?op=${operation}` : ''));
    await shot.act(page);
  } catch (e) {
    notes.push(String(e).split('\n')[0]);
  }
  for (const size of taken) {
    for (const scheme of chosenSchemes) {
      const file = `${name}-${size}-${scheme}.png`;
      try {
        await page.setViewportSize(sizes[size]);
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
        await page.waitForFunction((scheme) => document.documentElement.getAttribute('data-mantine-color-scheme') === scheme, scheme);
        await page.waitForTimeout(200);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        if (wide > 0) notes.push(`${size}: the page is ${wide} px too wide`);
        if (withAxe && size !== 'zoom' && (size === 'wide' || scheme === 'light')) for (const v of await axe(page)) notes.push(`${size} ${scheme}: ${v}`);
        let { width, height } = sizes[size];
        if (shot.full || size !== 'wide') {
          // Tall enough to see all of it.
          height = Math.min(tallest, Math.max(height, await page.evaluate(contentHeight)));
          await page.setViewportSize({ width, height });
          await page.waitForTimeout(200);
        }
        await page.screenshot({ path: join(out, file) });
        pictures.push({ label: name, file, size, scheme, width, height });
      } catch (e) {
        notes.push(`${size} ${scheme}: ${String(e).split('\n')[0]}`);
      }
    }
  }
  await page.setViewportSize(sizes[taken[0]]);
  notes.push(...(await keyboard(page, shot).catch((e) => [String(e).split('\n')[0]])));
  await context.close();
  if (notes.length > 0) {
    noted++;
    console.log(`${name}: ${[...new Set(notes)].join('\n    ')}`);
  }
}
const sheets = await layOut(browser, out, pictures);
await browser.close();
mock.stop();
console.log(`${pictures.length} pictures on ${sheets} sheets in ${out}, ${((Date.now() - began) / 1000).toFixed(0)} s; ${noted === 0 ? 'nothing was noted' : `${noted} of them with notes`}`);
process.exit(noted === 0 ? 0 : 1);
