// What the browser tests share: Chromium with one page, steps that print
// "ok" or "FAIL" lines, calls to the API with the page's cookie.
//
// Environment: BATON_URL, BATON_ARTIFACTS (screenshots), CHROMIUM.

import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const base = (process.env.BATON_URL ?? 'http://127.0.0.1:8400').replace(/\/$/, '');
export const out = process.env.BATON_ARTIFACTS ?? 'artifacts';
/** Chromium on a busy machine. */
export const uiMs = 60_000;

export function must(fact, said) {
  if (!fact) throw new Error(said);
}

export async function until(what, within, fact) {
  const deadline = Date.now() + within;
  for (;;) {
    const last = await fact();
    if (last) return last;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${within / 1000} s`);
    await new Promise((r) => setTimeout(r, 100));
  }
}

/** Starts Chromium; end() closes it and returns the exit code. */
export async function drive() {
  mkdirSync(out, { recursive: true });
  const profile = mkdtempSync(join(tmpdir(), 'baton-browser-'));
  const browser = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    headless: true,
    viewport: { width: 1440, height: 900 },
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  const page = browser.pages()[0] ?? (await browser.newPage());
  page.setDefaultTimeout(uiMs);
  const broken = [];
  page.on('pageerror', (e) => broken.push(String(e)));
  page.on('console', (m) => m.type() === 'error' && !/Failed to load resource/.test(m.text()) && broken.push(m.text()));

  let passed = 0;
  let failed = 0;
  let shots = 0;
  const shot = (name) => page.screenshot({ path: join(out, `flow-${String(++shots).padStart(2, '0')}-${name.replace(/[^a-z0-9]+/gi, '-').slice(0, 60)}.png`) }).catch(() => {});

  /** One step; a later one still runs when it fails, from its own address. */
  async function step(name, act) {
    const began = Date.now();
    try {
      await act();
      passed++;
      console.log(`ok   ${name} (${Date.now() - began} ms)`);
    } catch (error) {
      failed++;
      console.log(`FAIL ${name}: ${String(error.message ?? error).split('\n').slice(0, 4).join(' | ')}`);
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

  async function end() {
    await step('no page had an error', async () => must(broken.length === 0, broken.slice(0, 3).join(' | ')));
    await browser.close();
    rmSync(profile, { recursive: true, force: true });
    console.log(`${passed} passed, ${failed} failed`);
    return failed === 0 ? 0 : 1;
  }
  return { browser, page, step, shot, call, end };
}
