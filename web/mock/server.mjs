// A stand-in for the control plane, for work on the dashboard alone. Serves
// the built dashboard and the API on 127.0.0.1. `POST /__mock` with
// {"scenario": ...} changes what it answers:
//   normal | empty | stale | error | signed-out | setup | lost | viewer
//   frozen (a promotion that stands still in its middle)
//   rolled-back | needs-human (how the next promotion ends)
//   watched (the Redis cluster's servers were not made by Baton)
//   skew (a check refuses that may be set aside)
//   terminal-idle | terminal-ended (what an open terminal hears)
//   stale-report | busy (the next promotion is refused so)
//   unprotected (the cluster may be deleted) | primary-gone | cooling (after a failover)
//   long | foreign | many | crowd | huge (the edges of what may come: bend.mjs)
// Beside a scenario: "role" (of the person who is signed in), "hold" (a regular
// expression: requests of these paths are never answered) and "fail"
// ({"match": ..., "status": ...}: requests of these paths fail).
// Usage: PORT=8400 npm run mock

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bendDetail, bendIn, bendOut, bendSummaries } from './bend.mjs';
import { advanceOther, beginOther, detailMore, more, nodeMore, routes } from './more.mjs';
import { storeRoutes } from './store.mjs';
import { recording, terminalRoutes, upgrade } from './terminal.mjs';
import { advance, begin, detail as plainDetail, finish, hosts, ids, log, plan, remember, report, world } from './fixtures.mjs';

// A build with BATON_ROUTES=all shows every part of every page; DIST names its folder.
const dist = process.env.DIST ?? fileURLToPath(new URL('../dist', import.meta.url));
const kinds = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

function fresh() {
  const all = world();
  all.more = more(Date.now());
  remember(all, Date.now());
  return all;
}
let w = fresh();

function detail(world, now, id) {
  const d = bendDetail(world, now, { ...plainDetail(world, now, id), ...detailMore(world, now, id) });
  if (id !== 'sessions') return d;
  if (world.scenario === 'primary-gone') {
    const gone = { status: { level: 'down', sentence: 'Host does not answer' }, lastUpdate: new Date(now - 21_000).toISOString(), pid: null };
    d.nodes = d.nodes.map((n) => (n.name === world.leaders.sessions ? { ...n, ...gone } : n));
    Object.assign(d, { verdict: { level: 'down', sentence: 'Down: sessions-1, the primary, does not answer for 21 s; failover waits for its lease to end' }, writesPerSecond: 0 });
  }
  d.nodes = d.nodes.map((n) => ({ ...n, ...nodeMore(world, n.name) }));
  if (world.more.endpoint) {
    d.connections = [
      { label: 'Read-write (follows the primary)', value: 'redis://10.0.0.2:16379', help: 'The endpoint. A promotion is a short pause for its clients and no error.' },
      { label: 'Read-only (follows healthy replicas)', value: 'redis://10.0.0.2:16380', help: 'The endpoint’s port for reads. What a replica answers may be a moment old; writes are refused.' },
      ...d.connections,
    ];
  }
  return d;
}
const streams = new Set();

const send = (name, data, id) => {
  const body = bendOut(w.scenario, JSON.stringify(data));
  for (const s of streams) s.res.write(`${id ? `id: ${id}\n` : ''}event: ${name}\ndata: ${body}\n\n`);
};
setInterval(() => {
  if (w.scenario === 'lost') return;
  const now = Date.now();
  send('clusters', w.scenario === 'empty' ? [] : bendSummaries(w, now));
}, 1000);
setInterval(() => {
  if (w.scenario === 'lost') return;
  for (const s of streams) {
    if (ids.includes(s.cluster)) s.res.write(`event: cluster\ndata: ${bendOut(w.scenario, JSON.stringify(detail(w, Date.now(), s.cluster)))}\n\n`);
  }
}, 500);
setInterval(() => {
  for (const s of streams) s.res.write(': still here\n\n');
}, 5000);

function run(op, everyMs) {
  const timer = setInterval(() => {
    const now = Date.now();
    const at = op.steps.findIndex((s) => s.state === 'running');
    if (op.cancelled) {
      clearInterval(timer);
      send('operation', op, String(now));
      return;
    }
    if (w.scenario === 'frozen' && at === 2) return;
    if (w.scenario === 'rolled-back' && at === 2) {
      Object.assign(op.steps[2], { state: 'failed', endedAt: new Date(now).toISOString(), detail: 'Not equal within 2 s.' });
      op.steps[1].state = 'undone';
      op.steps.slice(3).forEach((s) => (s.state = 'skipped'));
      finish(w, now, op, 'rolled-back');
      clearInterval(timer);
    } else if (w.scenario === 'needs-human' && op.steps[at]?.pointOfNoReturn === false && op.pastPointOfNoReturn) {
      Object.assign(op.steps[at], { state: 'failed', endedAt: new Date(now).toISOString(), detail: 'No answer from its agent after 30 s.' });
      finish(w, now, op, 'needs-human');
      clearInterval(timer);
    } else if (!(op.title ? advanceOther : advance)(w, now, op)) clearInterval(timer);
    send('operation', op, String(now));
    if (op.endedAt && w.audit[op.cluster]) send('audit', w.audit[op.cluster][0], String(now));
  }, everyMs);
}

const problem = (status, code, title, detailText, fix, more = {}) => [status, { title, status, detail: detailText, code, fix, retry: false, ...more }];

function answer(method, path, query, body) {
  const now = Date.now();
  if (path === '/setup-state') return [200, { needsSetup: w.scenario === 'setup' }];
  if (path === '/setup') {
    if (body.token !== 'good') return problem(403, 'setup-token', 'This set-up link does not work', 'It was used already, or a newer one was printed.', 'Restart Baton and open the link that it prints.');
    w.scenario = 'normal';
    return [200, { username: body.username, role: 'admin', expiresAt: new Date(now + 43_200_000).toISOString() }];
  }
  if (path === '/login') {
    if (body.password !== w.users.get(body.username)) return problem(401, 'wrong-login', 'User name or password is wrong', '', 'Try again.');
    w.scenario = 'normal';
    return [200, { username: body.username, role: w.role, expiresAt: new Date(now + 43_200_000).toISOString() }];
  }
  if (path === '/logout') {
    w.scenario = 'signed-out';
    return [204, null];
  }
  if (w.scenario === 'signed-out' || w.scenario === 'setup') return problem(401, 'not-signed-in', 'You are signed out', '', 'Sign in.');
  if (path === '/session') return [200, { username: w.scenario === 'viewer' ? 'vera' : 'admin', role: w.scenario === 'viewer' ? 'viewer' : w.role, expiresAt: new Date(now + 43_200_000).toISOString() }];
  if (path === '/version') return [200, { version: '0.1.0', commit: 'mock' }];
  if (w.scenario === 'error') return problem(503, 'unavailable', 'The control plane is starting', 'Its journal is being read: 40 % done.', 'Wait some seconds; this page retries by itself.', { retry: true });
  const start = (kind, cluster, node, title, reason) => {
    const op = beginOther(w, now, kind, cluster, node, title, reason);
    advanceOther(w, now, op);
    run(op, 300);
    return op;
  };
  for (const [verb, pattern, act] of [...routes, ...storeRoutes, ...terminalRoutes]) {
    if (verb !== method) continue;
    const found = new RegExp(`^${pattern.replace(/:(\w+)/g, '(?<$1>[^/]+)')}$`).exec(path);
    if (found && path !== '/clusters/new') return act({ w, now, query, body: body ?? {}, problem, start, ...Object.fromEntries(Object.entries(found.groups ?? {}).map(([k, v]) => [k, decodeURIComponent(v)])) });
  }
  if (path === '/hosts') return [200, { hosts: w.scenario === 'empty' ? [] : hosts(w, now) }];
  if (path === '/clusters') return [200, { clusters: w.scenario === 'empty' ? [] : bendSummaries(w, now) }];
  let m = /^\/operations\/([^/]+)(\/undo)?$/.exec(path);
  if (m) {
    const op = w.operations.get(decodeURIComponent(m[1]));
    if (!op) return problem(404, 'unknown-operation', 'No such operation', '', 'The audit lists them.');
    if (!m[2]) return [200, op];
    if (body.typedName !== op.from) return problem(422, 'typed-name-mismatch', 'The typed name is wrong', `You typed “${body.typedName}”; the node is ${op.from}.`, 'Type it again.');
    const back = begin(w, now, op.cluster, op.from, { kind: 'switch-back' });
    advance(w, now, back);
    run(back, 350);
    return [202, { operationId: back.id, dryRun: false }];
  }
  m = /^\/clusters\/([^/]+)(?:\/(.*))?$/.exec(path);
  if (!m) return problem(404, 'not-found', 'Not found', '', '');
  const id = decodeURIComponent(m[1]);
  if (!ids.includes(id)) return problem(404, 'unknown-cluster', 'No such cluster', `There is no cluster “${id}”.`, 'baton clusters lists them.');
  const rest = m[2] ?? '';
  if (rest === '') return [200, detail(w, now, id)];
  if (rest === 'audit') {
    return [200, { rows: w.scenario === 'no-audit' ? [] : w.audit[id], next: '', chain: { ok: true, records: 100 + w.audit[id].length, sentence: `Chain intact over ${100 + w.audit[id].length} records` } }];
  }
  const node = /^nodes\/([^/]+)\/report$/.exec(rest)?.[1] ?? body?.node;
  if (node !== undefined && !detail(w, now, id).nodes.some((n) => n.name === node)) return problem(404, 'unknown-node', `${id} has no node ${node}`, '', `baton nodes ${id} lists them.`);
  if (rest.endsWith('/report')) return [200, report(w, now, id, node)];
  if (rest === 'plan') return [200, plan(w, now, id, node, body.overrides)];
  if (rest === 'promotions' && method === 'POST') {
    if (body.dryRun) return [200, { operationId: '', dryRun: true, plan: plan(w, now, id, node, body.overrides) }];
    const refuse = (p) => {
      log(w, now, id, { what: `tried to promote ${node}`, node, outcome: 'refused', detail: p[1].detail });
      return p;
    };
    if (body.typedName !== node) return refuse(problem(422, 'typed-name-mismatch', 'The typed name is wrong', `You typed “${body.typedName}”; the node is ${node}.`, 'Type it again.'));
    if (w.scenario === 'stale-report') return refuse(problem(409, 'stale-report', 'The report is not the one you saw', 'The verdict of “load per core” changed.', 'Read the fresh one.', { report: report(w, now, id, node) }));
    if (w.running[id] || w.scenario === 'busy') return refuse(problem(409, 'operation-running', 'Another operation runs on this cluster', 'mira promotes demo-2 since 3 s; it is at step 2 of 5.', 'Wait for it, then try again.', { operationId: w.running[id] ?? [...w.operations.keys()][0] }));
    if (plan(w, now, id, node, body.overrides).refused) return refuse(problem(409, 'refused-by-checks', 'The checks refuse this promotion', report(w, now, id, node).reason, 'See the report.'));
    if (body.at) {
      w.more.schedules.push({ id: `w${now}`, cluster: id, node, state: 'scheduled', requester: 'admin', reason: body.reason ?? '', askedAt: new Date(now).toISOString(), at: body.at, expiresAt: null, approver: '', why: '', operationId: null, mayApprove: false });
      return [202, { operationId: '', dryRun: false, state: 'scheduled', scheduleId: `w${now}` }];
    }
    if (w.more.policy.approval && id === 'sessions') {
      w.more.approvals.unshift({ id: `w${now}`, cluster: id, node, state: 'awaiting-approval', requester: 'admin', reason: body.reason ?? '', askedAt: new Date(now).toISOString(), at: null, expiresAt: new Date(now + 86_400_000).toISOString(), approver: '', why: '', operationId: null, mayApprove: false });
      return [202, { operationId: '', dryRun: false, state: 'awaiting-approval', approvalId: `w${now}` }];
    }
    const op = begin(w, now, id, node, { reason: body.reason ?? '' });
    advance(w, now, op);
    run(op, 350);
    return [202, { operationId: op.id, dryRun: false }];
  }
  return problem(404, 'not-found', 'Not found', '', '');
}

async function file(res, path, accept) {
  const name = normalize(path === '/' ? '/index.html' : path);
  try {
    const body = await readFile(join(dist, name));
    res.writeHead(200, { 'Content-Type': kinds[extname(name)] ?? 'application/octet-stream', ...(name === '/index.html' ? { 'Content-Security-Policy': policy } : {}) });
    res.end(body);
  } catch {
    if (!accept?.includes('text/html')) return res.writeHead(404).end();
    res.writeHead(200, { 'Content-Type': 'text/html', 'Content-Security-Policy': policy });
    res.end(await readFile(join(dist, 'index.html')));
  }
}

createServer((req, res) => {
  const url = new URL(req.url, 'http://127.0.0.1');
  let text = '';
  req.on('data', (d) => (text += d));
  req.on('end', () => {
    const body = text ? JSON.parse(bendIn(w.scenario, text)) : undefined;
    if (url.pathname === '/__mock') {
      if (body.reset) {
        w = fresh();
      }
      w.scenario = body.scenario;
      Object.assign(w, { role: body.role ?? w.role, hold: body.hold ? new RegExp(body.hold) : null, fail: body.fail ? { ...body.fail, match: new RegExp(body.fail.match) } : null });
      if (body.start) {
        const op = begin(w, Date.now(), body.start.cluster, body.start.node, { reason: 'kernel update on rack a' });
        advance(w, Date.now(), op);
        run(op, body.start.everyMs ?? 350);
        res.end(JSON.stringify({ operation: op.id }));
        return;
      }
      if (w.scenario === 'lost') for (const s of streams) s.res.destroy();
      res.end('{}');
      return;
    }
    if (!url.pathname.startsWith('/api/v1/')) return void file(res, url.pathname, req.headers.accept);
    const path = bendIn(w.scenario, decodeURI(url.pathname.slice('/api/v1'.length)));
    if (w.hold?.test(path)) return;
    if (w.fail?.match.test(path)) {
      const [status, out] = problem(w.fail.status, 'failed', ...(w.fail.says ?? ['The control plane had an error', 'Its journal did not answer within 5 s.', 'Your clusters run without it. Try again; if it stays, look at its log.']));
      return void res.writeHead(status, { 'Content-Type': 'application/problem+json' }).end(JSON.stringify(out));
    }
    if (path === '/events') {
      if (w.scenario === 'signed-out') return void res.writeHead(401).end();
      if (w.scenario === 'lost' || w.scenario === 'error') return void res.writeHead(503).end();
      res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
      const stream = { res, cluster: bendIn(w.scenario, url.searchParams.get('cluster') ?? '') };
      streams.add(stream);
      res.on('close', () => streams.delete(stream));
      res.write(': hello\n\n');
      return;
    }
    if (w.scenario === 'lost') return void req.socket.destroy();
    if (path.startsWith('/terminal/recordings/')) return void res.writeHead(200, { 'Content-Type': 'application/x-asciicast' }).end(bendOut(w.scenario, recording(Date.now())));
    const [status, out] = answer(req.method, path, url.searchParams, body);
    res.writeHead(status, { 'Content-Type': status >= 400 ? 'application/problem+json' : 'application/json' });
    res.end(out === null ? '' : bendOut(w.scenario, JSON.stringify(out)));
  });
})
  .on('upgrade', (req, socket) => upgrade(req, socket, w.scenario))
  .listen(Number(process.env.PORT ?? 8400), '127.0.0.1', function () {
    console.log(`mock control plane on http://127.0.0.1:${this.address().port}`);
  });
