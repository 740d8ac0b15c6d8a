// Leaves one page open under live events and watches what it holds: heap after
// a collection, DOM nodes, listeners. Exit code 1 when it grows without end.
// Usage: BASE=http://127.0.0.1:8400 [MINUTES=10] [PAGE=/clusters/sessions] node mock/soak.mjs

import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

const base = process.env.BASE ?? 'http://127.0.0.1:8400';
const minutes = Number(process.env.MINUTES ?? 10);
const path = process.env.PAGE ?? '/clusters/sessions';
/** More growth than this after the first minute is a leak: caches of a page settle well below. */
const allowedGrowth = 1.25;

const browser = await chromium.launchPersistentContext(mkdtempSync(join(tmpdir(), 'baton-soak-')), {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  viewport: { width: 1440, height: 900 },
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});
const page = browser.pages()[0];
await page.goto(base + path);
await page.locator('[data-testid^=topology-], [data-testid^=node-], main table').first().waitFor();
const cdp = await browser.newCDPSession(page);
await cdp.send('Performance.enable');
await cdp.send('HeapProfiler.enable');

async function sample() {
  await cdp.send('HeapProfiler.collectGarbage');
  const { metrics } = await cdp.send('Performance.getMetrics');
  const of = (name) => metrics.find((m) => m.name === name)?.value ?? 0;
  return { heapMiB: Number((of('JSHeapUsedSize') / 2 ** 20).toFixed(2)), nodes: of('Nodes'), listeners: of('JSEventListeners'), documents: of('Documents') };
}

const samples = [];
const began = Date.now();
for (let i = 0; Date.now() - began < minutes * 60_000; i++) {
  await page.waitForTimeout(20_000);
  const s = await sample();
  samples.push(s);
  console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(4)} s  heap ${s.heapMiB} MiB  nodes ${s.nodes}  listeners ${s.listeners}`);
}
await browser.close();
const early = samples[Math.min(2, samples.length - 1)];
const late = samples.at(-1);
const grew = late.heapMiB > early.heapMiB * allowedGrowth || late.nodes > early.nodes * allowedGrowth || late.listeners > early.listeners * allowedGrowth;
console.log(grew ? 'it grew' : `steady: heap ${early.heapMiB} -> ${late.heapMiB} MiB, nodes ${early.nodes} -> ${late.nodes}, listeners ${early.listeners} -> ${late.listeners}`);
process.exit(grew ? 1 : 0);
