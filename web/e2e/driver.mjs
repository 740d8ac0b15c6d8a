// What the browser tests share: Chromium with one page, steps that print
// "ok" or "FAIL" lines, calls to the API with the page's cookie.
//
// A step that fails prints what the page logged and which requests failed
// since it began, in lines that begin with "|", and leaves a screenshot.
//
// Environment:
//   BATON_URL         address of the control plane, default http://127.0.0.1:8400
//   BATON_ARTIFACTS   folder for screenshots, default artifacts
//   CHROMIUM          default /usr/bin/chromium
//   BATON_SETUP       the one-use set-up link, or the token in it; empty: the account exists
//   BATON_USER, BATON_PASSWORD   the account, an administrator

import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const base = (process.env.BATON_URL ?? 'http://127.0.0.1:8400').replace(/\/$/, '');
export const out = process.env.BATON_ARTIFACTS ?? 'artifacts';
export const token = (process.env.BATON_SETUP ?? '').replace(/^.*#token=/, '');
export const username = process.env.BATON_USER ?? 'admin';
export const password = process.env.BATON_PASSWORD ?? 'pass the baton without losing a write';

/** Chromium on a busy machine. */
export const uiMs = 60_000;
/** Starting engines, copying and loading, on a busy machine. */
export const workMs = 180_000;
/** Lines of a page's log that are kept. */
const logLines = 60;

export function must(fact, said) {
  if (!fact) throw new Error(said);
}

/** Waits for a fact; one that throws is not there yet. */
export async function until(what, within, fact) {
  const deadline = Date.now() + within;
  for (;;) {
    let why = '';
    try {
      const last = await fact();
      if (last) return last;
    } catch (error) {
      why = `: ${String(error.message ?? error).split('\n')[0]}`;
    }
    if (Date.now() > deadline) throw new Error(`${what}: not within ${within / 1000} s${why}`);
    await new Promise((r) => setTimeout(r, 100));
  }
}

/** Starts Chromium; end() closes it and returns the exit code. prefix begins the names of screenshots. */
export async function drive(prefix) {
  mkdirSync(out, { recursive: true });
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const foreign = [];
  const broken = [];
  let log = [];
  const note = (line) => {
    log.push(`${new Date().toISOString().slice(11, 23)} ${line}`);
    if (log.length > logLines) log.shift();
  };

  /** A page of a person of their own. What any page says to the console counts as an error, but for failed requests, which the browser itself notes. */
  async function person() {
    const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
    const page = await context.newPage();
    page.setDefaultTimeout(uiMs);
    page.on('request', (r) => {
      const { origin, protocol } = new URL(r.url());
      if (protocol.startsWith('http') && origin !== new URL(base).origin) foreign.push(r.url());
    });
    page.on('response', (r) => r.status() >= 400 && note(`${r.status()} ${r.request().method()} ${r.url().slice(base.length)}`));
    page.on('requestfailed', (r) => r.failure()?.errorText === 'net::ERR_ABORTED' || note(`failed ${r.method()} ${r.url().slice(base.length)} ${r.failure()?.errorText ?? ''}`));
    page.on('pageerror', (e) => {
      broken.push(String(e));
      note(`error ${e.stack ?? e}`);
    });
    page.on('console', (m) => {
      note(`${m.type()} ${m.text()}`);
      if (!/Failed to load resource|net::ERR_/.test(m.text())) broken.push(`${m.type()}: ${m.text()}`);
    });
    return page;
  }
  const page = await person();

  let passed = 0;
  let failed = 0;
  let shots = 0;
  const shot = (name) => page.screenshot({ path: join(out, `${prefix}-${String(++shots).padStart(2, '0')}-${name.replace(/[^a-z0-9]+/gi, '-').slice(0, 60)}.png`) }).catch(() => {});

  /** One step; a later one still runs when it fails, from its own address. */
  async function step(name, act) {
    const began = Date.now();
    log = [];
    try {
      await act();
      passed++;
      console.log(`ok   ${name} (${Date.now() - began} ms)`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name}: ${String(error.message ?? error).split('\n').slice(0, 4).join(' | ')}`);
      console.log(`| at ${page.url()}`);
      for (const line of log) console.log(`| ${line.replaceAll('\n', ' ')}`);
      await shot(`failed-${name}`);
    }
  }

  /** Calls the API from inside the page, with its cookie, as the dashboard does. */
  const call = (method, path, body) =>
    page.evaluate(
      async ([m, p, b]) => {
        const answer = await fetch(`/api/v1${p}`, { method: m, headers: { 'Content-Type': 'application/json' }, body: b === null ? undefined : JSON.stringify(b) });
        const text = await answer.text();
        let json = null;
        try {
          json = JSON.parse(text);
        } catch {
          // The caller sees the status.
        }
        return { status: answer.status, json };
      },
      [method, path, body ?? null],
    );

  /** Makes the account where there is a set-up link, else signs in with it. */
  async function signIn() {
    await page.goto(token ? `${base}/setup#token=${token}` : `${base}/sign-in`);
    await page.locator('input[name=username]').fill(username);
    await page.locator('input[name=password]').fill(password);
    await page.keyboard.press('Enter');
    await page.waitForURL('**/clusters');
    await page.getByRole('heading', { name: 'Clusters' }).waitFor();
  }

  async function end() {
    await step('the pages asked nobody else and said nothing to the console', async () => {
      must(foreign.length === 0, `requests to ${foreign.slice(0, 3).join(', ')}`);
      must(broken.length === 0, broken.slice(0, 3).join(' | '));
    });
    await browser.close();
    console.log(`${passed} passed, ${failed} failed`);
    return failed === 0 ? 0 : 1;
  }
  return { page, person, step, shot, call, signIn, end };
}
