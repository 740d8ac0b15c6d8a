// What the mock server's answers look like at the edges of what may come:
// names of 63 characters, hundreds of clusters, dozens of nodes, terabytes,
// text that runs from right to left. Each bend changes what goes out; names
// that come back in are taken back to the plain ones.

import { ids, nodes, summary } from './fixtures.mjs';

/** A cluster's name of 61 characters, so that its nodes' names have the 63 that are allowed. */
const longName = 'payments-ledger-eu-central-1-production-primary-shard-blue-07';

/** Text that runs from right to left, and letters outside of the page's own typeface. */
const foreign = { 'rack-a': 'مركز-البيانات-١', mira: 'يوسف', jon: 'Łukasz', 'kernel update on rack a': 'ترقية النواة على الخادم الأول', 'try it out': 'בדיקה של המערכת' };

const many = 200;

/** Whether a scenario is one of these. */
export const bends = new Set(['long', 'foreign', 'many', 'crowd', 'huge']);

/** The text of an answer as the scenario has it go out. */
export function bendOut(scenario, text) {
  if (scenario === 'long') return text.replace(/sessions(?!":)/g, longName);
  if (scenario === 'foreign') return Object.entries(foreign).reduce((t, [plain, other]) => t.replaceAll(plain, other), text);
  return text;
}

/** A path or body that came in, in the plain names. */
export function bendIn(scenario, text) {
  return scenario === 'long' ? text.replaceAll(longName, 'sessions') : text;
}

const verdicts = [
  { level: 'healthy', sentence: 'Healthy: can lose 1 node without losing a write or stopping.' },
  { level: 'healthy', sentence: 'Healthy: can lose 2 nodes without losing a write or stopping.' },
  { level: 'degraded', sentence: 'Degraded: one replica is not in step; writes of the last moment may be on the primary alone' },
  { level: 'down', sentence: 'Down: no primary answers.' },
];

/** The clusters as the scenario has them. */
export function bendSummaries(w, now) {
  const plain = ids.map((id) => summary(w, now, id)).map((s) => bendSummary(w, s));
  if (w.scenario !== 'many') return plain;
  return Array.from({ length: many }, (_, i) => {
    const name = `${['orders', 'sessions', 'ledger', 'search', 'carts'][i % 5]}-${['eu', 'us', 'ap'][i % 3]}-${String(i + 1).padStart(3, '0')}`;
    return { ...plain[i % 2], id: i < ids.length ? ids[i] : name, name: i < ids.length ? ids[i] : name, verdict: verdicts[i % 41 === 0 ? 3 : i % 17 === 0 ? 2 : i % 2], runningOperation: null };
  });
}

const tib = 2 ** 40;

function bendSummary(w, s) {
  if (w.scenario !== 'huge' || s.id === 'ledger') return s;
  return { ...s, worstLagBytes: String(3.7 * tib), writesPerSecond: 1_284_311, writesHistory: s.writesHistory.map((v) => v * 1500) };
}

/** How many nodes the crowded cluster has. */
const crowd = 50;

/** A cluster's detail as the scenario has it. */
export function bendDetail(w, now, d) {
  if (w.scenario === 'huge') {
    const big = (n, i) => ({
      ...n, lagBytes: n.lagBytes === null ? null : String(3.7 * tib + i), lagSeconds: n.lagSeconds === null ? null : 93_784, position: '18446744073709551615', hardware: { ...n.hardware, cores: 192, memoryBytes: String(6 * tib), diskFreeBytes: String(61.4 * tib), diskTotalBytes: String(960 * tib) },
    });
    const nodes = d.nodes.map(big);
    return { ...bendSummary(w, d), nodes, links: d.links.map((l) => ({ ...l, lagBytes: l.lagBytes === null ? null : String(3.7 * tib), lagSeconds: l.lagSeconds === null ? null : 93_784 })) };
  }
  if (w.scenario !== 'crowd' || d.id !== 'demo') return d;
  const model = nodes(w, now, 'demo');
  const more = Array.from({ length: crowd - d.nodes.length }, (_, i) => ({ ...model[3 + (i % 2)], name: `demo-${i + d.nodes.length + 1}`, address: `127.0.0.1:${2200 + i}`, ...(i % 13 === 7 && { status: { level: 'down', sentence: 'Process is not running' }, promotable: { ok: false, reason: 'it is down' }, lagBytes: null, lagSeconds: null }) }));
  const all = [...d.nodes, ...more];
  return {
    ...d, nodes: all, membersTotal: all.length, membersUp: all.filter((n) => n.status.level === 'up').length,
    links: [...d.links, ...more.map((n) => ({ from: w.leaders.demo, to: n.name, kind: 'async', lagBytes: n.lagBytes, lagSeconds: n.lagSeconds, up: n.status.level !== 'down' }))],
  };
}
