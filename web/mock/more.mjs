// The rest of the control API for the mock server: everything beyond watching
// and promoting. Each area is a table from "METHOD /path" to a handler
// ({ w, now, query, body, problem, start, ... params }) => [status, body].

import { log, nodes } from './fixtures.mjs';

const iso = (ms) => new Date(ms).toISOString();
const hour = 3_600_000;
const day = 24 * hour;

const policy = () => ({
  durability: 'async', syncReplicas: 0, failover: 'no-loss', maxLossBytes: 16_777_216, maxLossAgeSeconds: 10, leaseTtlMs: 5000, coolDownSeconds: 600, mode: 'auto', restartFirst: true,
  approval: false, deletionProtection: true, allowCidrs: ['10.0.0.0/8'], backupSchedule: '@every 24h', backupKeep: 14, backupTarget: 'rack-c', drillSchedule: '@every 168h', maintenanceUntil: null,
});

const backup = (now, i, over = {}) => ({
  id: `b-2026${String(1000 + i)}`, at: iso(now - i * day - 2 * hour), node: i % 2 ? 'sessions-2' : 'sessions-3', kind: 'rdb', bytes: 184_549_376 - i * 1_200_000, keys: 1_204_311 - i * 8000, position: '', sha256: `9f2ce04b7d1a${i}c`, encrypted: true,
  state: 'done', verifiedAt: null, verifiedHow: '', restoreMs: null, operationId: '', target: 'rack-c', damaged: false, why: '', onPrimary: false, ...over,
});

/** What the first answers of every area are made of; changes live in it. */
export function more(now) {
  return {
    policy: policy(),
    tags: {},
    maintenance: {},
    suspendedUntil: null,
    coolDownUntil: null,
    endpoint: true,
    backups: [0, 1, 2, 5, 6, 7, 8].map((i) => backup(now, i, i === 0 || i === 5 ? { state: 'verified', verifiedAt: iso(now - i * day - hour), verifiedHow: 'loaded into a scratch instance, keys counted', restoreMs: 4210 } : i === 6 ? { state: 'failed', keys: null, bytes: 0, why: 'the target did not answer within 30 s' } : {})),
    targets: [
      { name: 'rack-c', kind: 's3', location: 's3.rack-c.example:9000/baton', healthy: true, why: '' },
      { name: 'local', kind: 'directory', location: '/var/backups/baton', healthy: false, why: 'The directory is not writable on rack-b-1' },
    ],
    alerts: [
      alert(now, 'a1', { cluster: 'ledger', kind: 'no-primary', severity: 'critical', sentence: 'ledger has no leader: 2 of 3 voters are missing', fix: 'bring ledger-1 or ledger-2 back', since: iso(now - 95_000) }),
      alert(now, 'a2', { cluster: 'sessions', node: 'sessions-3', kind: 'node-down', sentence: 'sessions-3 is down since 42 s', fix: 'look at its log on rack-a-1; the agent tries to start it', since: iso(now - 42_000) }),
      alert(now, 'a3', { cluster: 'sessions', kind: 'backup-age', state: 'acknowledged', acknowledgedBy: 'mira', acknowledgedUntil: iso(now + 5 * hour), note: 'storage is being moved', sentence: 'the newest verified backup of sessions is 5 days old', fix: 'verify the newest backup', since: iso(now - 20 * hour) }),
      alert(now, 'a4', { cluster: 'demo', node: 'demo-5', kind: 'lag', state: 'resolved', resolvedAt: iso(now - 3 * hour), sentence: 'demo-5 was 18 MiB behind', fix: '', since: iso(now - 4 * hour) }),
    ],
    approvals: [
      { id: 'w1', cluster: 'sessions', node: 'sessions-2', state: 'awaiting-approval', requester: 'mira', reason: 'move off rack a before the power work', askedAt: iso(now - 12 * 60_000), at: null, expiresAt: iso(now + day), approver: '', why: '', operationId: null, mayApprove: true },
      { id: 'w2', cluster: 'demo', node: 'demo-3', state: 'started', requester: 'jon', reason: 'try it out', askedAt: iso(now - 2 * day), at: null, expiresAt: null, approver: 'mira', why: '', operationId: null, mayApprove: false },
    ],
    schedules: [],
    people: [
      { name: 'admin', role: 'admin', disabled: false, invited: false, pending: false, createdAt: iso(now - 90 * day), lastSeen: iso(now - 4000), you: true },
      { name: 'mira', role: 'operator', disabled: false, invited: false, pending: false, createdAt: iso(now - 60 * day), lastSeen: iso(now - 12 * 60_000), you: false },
      { name: 'jon', role: 'approver', disabled: false, invited: true, pending: true, createdAt: iso(now - 2 * hour), lastSeen: null, you: false },
      { name: 'olga', role: 'viewer', disabled: true, invited: false, pending: false, createdAt: iso(now - 30 * day), lastSeen: iso(now - 9 * day), you: false },
    ],
    tokens: [{ id: 't1', name: 'deploy-pipeline', owner: 'admin', role: 'operator', createdAt: iso(now - 20 * day), expiresAt: iso(now + 70 * day), expired: false, lastSeen: iso(now - 3 * hour) }],
    notifications: {
      email: { host: 'smtp.example.org', port: 587, from: 'baton@example.org', to: ['oncall@example.org'], user: 'baton', hasPassword: true, tls: 'starttls' },
      webhooks: [{ url: 'https://hooks.example.org/baton', hasSecret: true }],
      deliveries: [
        { at: iso(now - 90_000), channel: 'oncall@example.org', subject: 'ledger has no leader', tries: 1, ok: true, error: '' },
        { at: iso(now - 88_000), channel: 'https://hooks.example.org/baton', subject: 'ledger has no leader', tries: 3, ok: false, error: 'the server answered 502' },
      ],
    },
    parameters: [
      { name: 'maxmemory', value: '268435456', default: '0', needsRestart: false, pending: null, description: 'The most bytes of data; 0 is no limit.' },
      { name: 'maxmemory-policy', value: 'noeviction', default: 'noeviction', needsRestart: false, pending: null, description: 'What goes when it is full.' },
      { name: 'io-threads', value: '1', default: '1', needsRestart: true, pending: '4', description: 'Threads that read and write connections.' },
      { name: 'repl-backlog-size', value: '67108864', default: '1048576', needsRestart: false, pending: null, description: 'Bytes kept so that a replica that was away misses nothing.' },
    ],
    engineUsers: [
      { name: 'shop', acl: 'readwrite', enabled: true, at: iso(now - 9 * day) },
      { name: 'reports', acl: 'read', enabled: true, at: iso(now - 2 * day) },
    ],
    lost: [],
    created: [],
  };
}

function alert(now, id, over) {
  return { id, cluster: '', node: '', kind: 'lag', severity: 'warning', state: 'firing', since: iso(now), lastSeen: iso(now - 900), sentence: '', fix: '', acknowledgedBy: null, acknowledgedUntil: null, note: '', resolvedAt: null, ...over };
}

/** The parts of a cluster's detail that come from here. */
export function detailMore(w, now, id) {
  if (id !== 'sessions') return {};
  const m = w.more;
  const leader = w.leaders[id];
  return {
    failsafe: id === 'sessions' && w.scenario === 'failsafe' ? { node: leader, seen: true, since: new Date(now - 74_000).toISOString(), sentence: '' } : null,
    lease: leader ? { holder: leader, generation: String(w.generations[id]), state: w.scenario === 'lease' ? 'at-risk' : 'held', expiresInMs: w.scenario === 'lease' ? 1400 : 5000 - (now % 1600), ttlMs: 5000, mode: 'failsafe' } : null,
    failover: { mode: m.policy.failover, suspendedUntil: m.suspendedUntil, coolDownUntil: w.scenario === 'cooling' ? iso(now + 400_000) : m.coolDownUntil, blocked: null },
    policy: { failover: m.policy.failover, approval: m.policy.approval },
  };
}

export function nodeMore(w, name) {
  return { tags: { priority: 100, noFailover: false, never: false, noSync: false, noBackup: false, expires: null, ...(w.more.tags[name] ?? {}), maintenance: w.more.maintenance[name] ?? null } };
}

const wave = (t, i, base, span) => Math.max(0, base + span * Math.sin(t / 500_000 + i) + span * 0.4 * Math.sin(t / 71_000 + 2 * i));

function history(w, now, id, query) {
  const metric = query.get('metric') ?? 'writes';
  const from = Date.parse(query.get('from') ?? '') || now - hour;
  const step = Math.max(1, Number(query.get('step') ?? 10));
  if (metric === 'stall') {
    return { metric, unit: 'ms', step: 0, from: iso(from), to: iso(now), series: [{ node: id, points: [[now - 52 * 60_000, 7.4], [now - 49 * 60_000, 6.1], [now - 12 * 60_000, 12.8], [now - 9 * 60_000, 5.2]].filter((p) => p[0] >= from) }], stalls: { count: 4, medianMs: 6.8, maxMs: 12.8 } };
  }
  const all = nodes(w, now, id);
  const value = { lag: (t, i) => (Math.sin(t / 300_000 + i) > 0.97 ? 900_000 : wave(t, i, 2000, 1500)), writes: (t) => wave(t, 0, 5210, 640), memory: (t, i) => 180e6 + i * 3e6 + (t % hour) * 4 }[metric];
  const of = metric === 'writes' ? all.slice(0, 1) : metric === 'lag' ? all.slice(1) : all;
  return {
    metric, unit: metric === 'writes' ? 'per second' : 'bytes', step, from: iso(from), to: iso(now),
    series: of.map((n, i) => ({ node: n.name, points: Array.from({ length: Math.floor((now - from) / 1000 / step) }, (_, j) => from + j * step * 1000).filter((t) => i !== 1 || t < now - 20 * 60_000 || t > now - 14 * 60_000).map((t) => [t, Math.round(value(t, i))]) })),
  };
}

/** Steps of an operation that does not move the primary. */
const plain = (titles) => titles.map(([id, title, node = '', command = '']) => ({ id, title, node, command, state: 'pending', pointOfNoReturn: false, startedAt: null, endedAt: null, detail: '' }));

const made = {
  'add-node': (n) => plain([['check', `Check the host of ${n}`, n], ['start', `Start ${n}`, n], ['follow', `Let ${n} follow the primary`, n, 'REPLICAOF 127.0.0.1 6379'], ['catch-up', 'Wait until it is in step', n], ['verify', 'Read a write back from it', n, 'GET']]),
  'remove-node': (n) => plain([['check', 'Check what is left'], ['detach', `Stop ${n} following`, n, 'REPLICAOF NO ONE'], ['stop', `Stop ${n}`, n], ['forget', `Forget ${n}`]]),
  'create-cluster': () => plain([['check', 'Check the hosts'], ['start', 'Start the nodes'], ['follow', 'Let the replicas follow'], ['verify', 'Write and read it back'], ['watch', 'Watch it']]),
  'adopt-cluster': () => plain([['look', 'Look at the servers'], ['account', 'Make an account for the agent'], ['watch', 'Watch it']]),
  'delete-cluster': () => plain([['backup', 'Take a last backup'], ['stop', 'Stop the nodes'], ['forget', 'Forget the cluster']]),
  resync: (n) => plain([['check', `Check ${n}`, n], ['follow', 'Follow anew', n, 'REPLICAOF 127.0.0.1 6379'], ['catch-up', 'Wait until it is in step', n]]),
  backup: (n) => plain([['choose', 'Choose the node'], ['snapshot', 'Take a snapshot', n, 'BGSAVE'], ['encrypt', 'Encrypt and checksum', n], ['store', 'Store it', n], ['read', 'Read it back']]),
  restore: () => plain([['fetch', 'Fetch and decrypt'], ['start', 'Start the new cluster'], ['load', 'Load the data'], ['compare', 'Count and compare keys']]),
  'restore-drill': () => plain([['fetch', 'Fetch the newest backup'], ['load', 'Load it into a scratch instance'], ['compare', 'Count and compare keys'], ['clean', 'Remove the scratch instance']]),
  configure: () => plain([['check', 'Check the values'], ['set', 'Set them on each node', '', 'CONFIG SET'], ['persist', 'Keep them over restarts', '', 'CONFIG REWRITE']]),
};

/** Begins an operation of any kind; the server moves it on. */
export function beginOther(w, now, kind, cluster, node, title, reason = '') {
  const op = {
    id: `op-${Math.random().toString(36).slice(2, 10)}`, kind, title, cluster, node, from: '', state: 'running', pastPointOfNoReturn: false, steps: made[kind](node), requester: 'admin', source: 'ui', reason, startedAt: iso(now), endedAt: null,
    stall: null, proof: null, outcome: '', undo: null, rolesBefore: [], rolesAfter: [], reportHash: '', generation: String(w.generations[cluster] ?? 1),
  };
  w.operations.set(op.id, op);
  if (cluster in w.running) w.running[cluster] = op.id;
  return op;
}

export function advanceOther(w, now, op) {
  const i = op.steps.findIndex((s) => s.state === 'running');
  if (i >= 0) Object.assign(op.steps[i], { state: 'done', endedAt: iso(now) });
  const next = op.steps[i + 1];
  if (next) {
    Object.assign(next, { state: 'running', startedAt: iso(now) });
    return true;
  }
  Object.assign(op, { state: 'done', endedAt: iso(now), outcome: `${op.title} took ${now - Date.parse(op.startedAt)} ms.` });
  if (op.cluster in w.running) w.running[op.cluster] = null;
  if (w.audit[op.cluster]) log(w, now, op.cluster, { who: op.requester, what: op.title[0].toLowerCase() + op.title.slice(1), node: op.node, operationId: op.id, detail: op.reason });
  if (op.kind === 'backup') w.more.backups.unshift(backup(now, 0, { id: `b-${op.id.slice(3)}`, at: iso(now), operationId: op.id }));
  if (op.kind === 'add-node') w.more.created.push(op.node);
  return false;
}

/** Routes as [method, pattern, handler]; ":x" in a pattern is a parameter. */
export const routes = [
  ['GET', '/engines', () => [200, { engines: [{ engine: 'redis', versions: [{ version: '7.0.15', hosts: ['agent-1', 'agent-2', 'agent-3'] }] }, { engine: 'valkey', versions: [{ version: '8.1.1', hosts: ['agent-2'] }] }] }]],
  ['POST', '/clusters', ({ body, start }) => [202, { operationId: start('create-cluster', 'sessions', '', `Create ${body.name}`).id, credentials: { user: 'app', password: 'uJ4-tanne-Q7r-molar-82' } }]],
  ['POST', '/clusters/adopt/preview', ({ body }) =>
    [200, body.primary.includes('26379') || body.primary.includes(':7')
      ? { nodes: [{ address: body.primary, role: 'primary', version: '7.0.15', lagBytes: null }], refusals: [{ code: 'sentinel', title: 'Sentinel watches this primary', detail: 'sentinel-1 at 10.0.0.9:26379 announced itself on it', fix: 'stop its Sentinels first: two masters of failover would promote against each other' }] }
      : { nodes: [{ address: body.primary, role: 'primary', version: '7.0.15', lagBytes: null }, { address: '10.0.0.6:6379', role: 'replica', version: '7.0.15', lagBytes: 0 }, { address: '10.0.0.7:6379', role: 'replica', version: '7.0.15', lagBytes: 412 }], refusals: [] }]],
  ['POST', '/clusters/adopt', ({ body, start }) => [202, { operationId: start('adopt-cluster', 'sessions', '', `Adopt ${body.name}`).id }]],
  ['POST', '/clusters/:id/nodes', ({ id, body, start }) => [202, { operationId: start('add-node', id, body.name, `Add ${body.name} to ${id}`, body.reason).id }]],
  ['POST', '/clusters/:id/nodes/:node/remove', ({ id, node, body, start, problem }) => (body.typedName !== node ? problem(422, 'typed-name-mismatch', 'The typed name is wrong', `You typed “${body.typedName}”; the node is ${node}.`, 'Type it again.') : [202, { operationId: start('remove-node', id, node, `Remove ${node} from ${id}`, body.reason).id }])],
  ['POST', '/clusters/:id/delete', ({ id, body, w, start, problem }) => (w.more.policy.deletionProtection && w.scenario !== 'unprotected' ? problem(409, 'protected', `${id} is protected from being deleted`, '', 'Turn deletion protection off in its settings first.') : body.typedName !== id ? problem(422, 'typed-name-mismatch', 'The typed name is wrong', '', 'Type it again.') : [202, { operationId: start('delete-cluster', id, '', `Delete ${id}`).id }])],
  ['POST', '/clusters/:id/nodes/:node/resync', ({ id, node, start }) => [202, { operationId: start('resync', id, node, `Resync ${node}`).id }]],
  ['POST', '/clusters/:id/nodes/:node/maintenance', ({ w, now, node, body }) => {
    w.more.maintenance[node] = body.minutes > 0 ? iso(now + body.minutes * 60_000) : null;
    return [200, {}];
  }],
  ['PUT', '/clusters/:id/nodes/:node/tags', ({ w, node, body }) => {
    w.more.tags[node] = body;
    return [200, {}];
  }],
  ['GET', '/clusters/:id/settings', ({ w, id }) => [200, settings(w, id)]],
  ['PUT', '/clusters/:id/settings', ({ w, id, body }) => {
    w.more.policy = { ...w.more.policy, ...body };
    delete w.more.policy.revision;
    return [200, settings(w, id)];
  }],
  ['GET', '/clusters/:id/parameters', ({ w }) => [200, { parameters: w.more.parameters }]],
  ['PUT', '/clusters/:id/parameters', ({ w, id, body, start }) => {
    for (const p of w.more.parameters) if (p.name in body.values) Object.assign(p, p.needsRestart ? { pending: body.values[p.name] } : { value: body.values[p.name] });
    return [202, { operationId: start('configure', id, '', `Configure ${id}`).id }];
  }],
  ['GET', '/clusters/:id/users', ({ w }) => [200, { users: w.more.engineUsers }]],
  ['POST', '/clusters/:id/users', ({ w, body }) => {
    w.more.engineUsers.push({ name: body.name, acl: body.access, enabled: true, at: iso(Date.now()) });
    return [201, { name: body.name, password: 'pR2-linde-K9x-tiger-41' }];
  }],
  ['POST', '/clusters/:id/users/:name/rotate', () => [200, { password: 'wQ8-birke-V3m-otter-17' }]],
  ['DELETE', '/clusters/:id/users/:name', ({ w, name }) => {
    w.more.engineUsers = w.more.engineUsers.filter((u) => u.name !== name);
    return [204, null];
  }],
  ['POST', '/clusters/:id/failover/pause', ({ w, now, body }) => {
    w.more.suspendedUntil = body.minutes > 0 ? iso(now + body.minutes * 60_000) : null;
    return [200, {}];
  }],
  ['POST', '/clusters/:id/failover/acknowledge', ({ w }) => {
    w.more.coolDownUntil = null;
    return [200, {}];
  }],
  ['GET', '/clusters/:id/lost-writes', ({ w }) => [200, { bundles: w.more.lost }]],
  ['GET', '/clusters/:id/what-if', ({ w, id, query }) => {
    const node = query.get('node');
    const lead = w.leaders[id] === node;
    if (!w.leaders[id]) return [200, { sentence: 'Nothing changes: there is no leader now, and there will be none.', next: '', lossBound: 'nothing more', steps: [] }];
    return [200, lead ? { sentence: `${node} would be silent for 5 s, then ${id === 'sessions' ? 'sessions-2' : 'demo-2'} takes over. Writes stop for about 6 s.`, next: id === 'sessions' ? 'sessions-2' : 'demo-2', lossBound: 'up to 412 B, the writes sessions-2 has not yet', steps: ['Wait until the lease ends', 'Check that sessions-2 holds the most', 'Promote sessions-2', 'Point the others at it'] } : { sentence: `Writes go on. One more loss then leaves the primary without a copy.`, next: w.leaders[id], lossBound: 'nothing', steps: [] }];
  }],
  ['GET', '/backups', ({ w }) => {
    const good = w.more.backups.filter((b) => b.state === 'done' || b.state === 'verified');
    return [200, { clusters: [{ cluster: 'sessions', newest: good[0]?.at ?? null, verified: good.find((b) => b.state === 'verified')?.at ?? null, count: good.length, bytes: good.reduce((n, b) => n + b.bytes, 0) }] }];
  }],
  ['GET', '/clusters/:id/backups', ({ w, now, id }) => {
    const list = id === 'sessions' && w.scenario !== 'no-backups' ? w.more.backups : [];
    const good = list.filter((b) => b.state === 'done' || b.state === 'verified');
    return [200, { window: good.length ? { earliest: good.at(-1).at, latest: good[0].at } : { earliest: null, latest: null }, schedule: w.more.policy.backupSchedule, keep: w.more.policy.backupKeep, target: w.more.policy.backupTarget, targetWhere: 'the bucket baton at s3.rack-c.example:9000', sentence: list.length ? 'the newest backup is 2 h old and was verified' : 'no backup was taken yet', nextAt: iso(now + 22 * hour), drillSchedule: w.more.policy.drillSchedule, backups: list, lastDrill: list.length ? { at: iso(now - 3 * day), ok: true, ms: 4210, sentence: '1 203 911 keys came back, as many as were written.' } : null }];
  }],
  ['POST', '/clusters/:id/backups', ({ id, body, start }) => [202, { operationId: start('backup', id, body.node || 'sessions-2', `Back up ${id}`, body.reason).id }]],
  ['POST', '/clusters/:id/backups/:backup/verify', ({ id, backup: b, w, now, start }) => {
    Object.assign(w.more.backups.find((x) => x.id === b) ?? {}, { state: 'verified', verifiedAt: iso(now), verifiedHow: 'loaded into a scratch instance, keys counted', restoreMs: 4188 });
    return [202, { operationId: start('restore-drill', id, '', `Verify ${b}`).id }];
  }],
  ['POST', '/clusters/:id/backups/:backup/restore', ({ id, backup: b, body, start, problem }) => (body.mode === 'in-place' && body.typedName !== id ? problem(422, 'typed-name-mismatch', 'The typed name is wrong', '', 'Type it again.') : [202, { operationId: start('restore', id, '', body.mode === 'beside' ? `Restore ${b} beside as ${body.name}` : `Restore ${b} in place`).id, credentials: body.mode === 'beside' ? { user: 'app', password: 'nK5-erle-T2w-dachs-63' } : null }])],
  ['POST', '/clusters/:id/backups/:backup/delete', ({ w, backup: b }) => {
    w.more.backups = w.more.backups.filter((x) => x.id !== b);
    return [200, {}];
  }],
  ['POST', '/clusters/:id/drill', ({ id, start }) => [202, { operationId: start('restore-drill', id, '', `Restore drill for ${id}`).id }]],
  ['GET', '/backup-targets', ({ w }) => [200, { targets: w.more.targets }]],
  ['POST', '/backup-targets', ({ w, body }) => {
    w.more.targets.push({ name: body.name, kind: body.kind, location: body.path ?? `${body.endpoint}/${body.bucket}`, healthy: null, why: '' });
    return [201, w.more.targets.at(-1)];
  }],
  ['DELETE', '/backup-targets/:name', ({ w, name }) => {
    w.more.targets = w.more.targets.filter((t) => t.name !== name);
    return [204, null];
  }],
  ['GET', '/clusters/:id/endpoint', ({ w, id }) => [200, w.more.endpoint && id === 'sessions' ? { enabled: true, host: '10.0.0.2', readWritePort: 16379, readOnlyPort: 16380, why: '', readWrite: '10.0.0.2:16379', readOnly: '10.0.0.2:16380', state: w.scenario === 'frozen' ? 'holding' : 'forwarding', clients: 14, heldNow: w.scenario === 'frozen' ? 23 : 0, generation: '3', target: w.leaders[id] ?? '', lastSwitchMs: 9.4 } : { enabled: false, host: '', readWritePort: 0, readOnlyPort: 0, why: '', readWrite: '', readOnly: '', state: 'closed', clients: 0, heldNow: 0, generation: '0', target: '', lastSwitchMs: null }]],
  ['PUT', '/clusters/:id/endpoint', ({ w, body }) => {
    w.more.endpoint = body.enabled;
    return [200, {}];
  }],
  ['GET', '/control', ({ w }) => [200, { nodes: ['c1', 'c2', 'c3'].map((name, i) => ({ name, address: `10.0.0.${i + 1}:8401`, url: '', version: '0.2.0', role: i === 0 ? 'leader' : i === 2 && w.scenario === 'control-short' ? 'unknown' : 'follower', up: !(i === 2 && w.scenario === 'control-short'), term: i === 0 ? '4' : '0', lag: '0', self: i === 1 })), leader: 'c1', term: '4', quorum: { needed: 2, alive: w.scenario === 'control-short' ? 2 : 3 }, majority: true, staleSeconds: 0, sentence: w.scenario === 'control-short' ? 'c3 does not answer; one more loss stops changes, not your clusters' : 'can lose 1 control node without stopping' }]],
  ['POST', '/hosts/join-token', ({ now }) => [200, { token: 'bt1.q7f…', command: 'curl -fsSk https://10.0.0.2:8401/agent.sh | sh -s -- --join bt1.q7fW2kd93HsLm0xQv81nAcZr5', expiresAt: iso(now + hour) }]],
  ['POST', '/hosts/ssh', ({ body, problem, now, w }) => {
    const hostKey = 'SHA256:3Qm0vGd1y8oZ0Wn4pTq7sXk2bLr9cJf5hUe6iAaBbCc';
    if (!body.hostKey) return problem(409, 'confirm-host-key', 'Confirm the machine’s host key', `${body.address} shows the ssh-ed25519 key ${hostKey}`, 'Compare it on the machine.', { hostKey });
    w.more.install = { id: 'install-1', address: body.address, began: now };
    return [202, { taskId: 'install-1' }];
  }],
  ['GET', '/hosts/tasks/:id', ({ w, now }) => {
    const t = w.more.install ?? { id: 'install-1', address: '10.0.0.7', began: now - 9000 };
    const all = [['connect', 'as root'], ['look', 'Debian 13, amd64, systemd'], ['upload', '42 MiB'], ['join', 'with a token that works once'], ['start', 'as a systemd unit']];
    const n = Math.min(all.length, 1 + Math.floor((now - t.began) / 1500));
    return [200, { id: t.id, address: t.address, state: n === all.length ? 'done' : 'running', error: '', startedAt: iso(t.began), endedAt: null, steps: all.slice(0, n).map(([step, detail], i) => ({ step, detail, at: iso(t.began + 1500 * i) })) }];
  }],
  ['GET', '/provider-accounts', ({ w, now }) => [200, { accounts: w.scenario === 'empty' ? [] : (w.more.accounts ??= [{ name: 'main', kind: 'hetzner', endpoint: '', by: 'admin', at: iso(now - 9 * 24 * hour) }]) }]],
  ['POST', '/provider-accounts', ({ w, now, body, problem }) => {
    if (body.token === 'wrong') return problem(422, 'bad-request', 'The provider does not take the token', 'unable to authenticate', 'Make a token with the right to read and write in the provider’s console.');
    w.more.accounts = [...(w.more.accounts ?? []), { name: body.name, kind: body.kind, endpoint: body.endpoint ?? '', by: 'admin', at: iso(now) }];
    return [200, { accounts: w.more.accounts }];
  }],
  ['DELETE', '/provider-accounts/:name', ({ w, name }) => [200, { accounts: (w.more.accounts = (w.more.accounts ?? []).filter((a) => a.name !== name)) }]],
  ['GET', '/provider-accounts/:name/options', () => [200, {
    locations: [{ name: 'fsn1', title: 'Falkenstein', country: 'DE' }, { name: 'ash', title: 'Ashburn, VA', country: 'US' }],
    sizes: [{ name: 'cax11', title: 'CAX11', arch: 'arm', cores: 2, memoryBytes: String(4 * 2 ** 30), diskBytes: String(40 * 2 ** 30), monthlyPrice: 'EUR 3.92' }, { name: 'cx22', title: 'CX22', arch: 'x86', cores: 2, memoryBytes: String(4 * 2 ** 30), diskBytes: String(40 * 2 ** 30), monthlyPrice: 'EUR 4.51' }],
  }]],
  ['GET', '/machines', ({ w, now }) => [200, { machines: w.scenario === 'empty' ? [] : (w.more.machines ??= [
    { id: 'machine-3', account: 'main', name: 'fsn-3', location: 'fsn1', size: 'cx22', state: 'making', why: '', providerId: '4713', address: '203.0.113.13', agent: '', by: 'admin', at: iso(now - 70_000), endedAt: null, steps: [{ step: 'make', detail: 'cx22 in fsn1', at: iso(now - 70_000) }, { step: 'boot', detail: 'machine 4713 at 203.0.113.13', at: iso(now - 64_000) }, { step: 'join', detail: 'it runs at 203.0.113.13; its agent is to join by itself', at: iso(now - 30_000) }] },
    { id: 'machine-2', account: 'main', name: 'fsn-2', location: 'fsn1', size: 'cx22', state: 'failed', why: 'the machine was not made: the project’s limit of servers is reached', providerId: '', address: '', agent: '', by: 'admin', at: iso(now - 2 * hour), endedAt: iso(now - 2 * hour), steps: [] },
    { id: 'machine-1', account: 'main', name: 'fsn-1', location: 'fsn1', size: 'cax11', state: 'ready', why: '', providerId: '4711', address: '203.0.113.11', agent: 'agent-9', by: 'admin', at: iso(now - 30 * hour), endedAt: iso(now - 30 * hour), steps: [] },
  ]) }]],
  ['POST', '/hosts/create', ({ w, now, body, problem }) => {
    if (body.name === 'taken') return problem(409, 'exists', 'The name is taken', 'a machine or account of this name is there already', 'Choose another name.');
    const id = `machine-${body.name}`;
    w.more.machines = [{ id, account: body.account, name: body.name, location: body.location, size: body.size, state: 'making', why: '', providerId: '', address: '', agent: '', by: 'admin', at: iso(now), endedAt: null, steps: [{ step: 'make', detail: `${body.size} in ${body.location}`, at: iso(now) }] }, ...(w.more.machines ?? [])];
    return [202, { taskId: id }];
  }],
  ['POST', '/machines/:id/delete', ({ w, id }) => {
    for (const m of w.more.machines ?? []) if (m.id === id) m.state = 'deleting';
    return [202, { taskId: id }];
  }],
  ['DELETE', '/hosts/:id', () => [204, null]],
  ['GET', '/activity', ({ w, query }) => {
    const rows = Object.values(w.audit).flat().filter((r) => (!query.get('cluster') || r.cluster === query.get('cluster')) && (!query.get('who') || r.who === query.get('who')) && (!query.get('outcome') || r.outcome === query.get('outcome')));
    return [200, { rows: rows.sort((a, b) => Date.parse(b.at) - Date.parse(a.at)), next: '' }];
  }],
  ['GET', '/audit/verify', () => [200, { records: 1312, chains: 4, ok: true, firstBad: null, sentence: 'All 1312 records in 4 chains are intact' }]],
  ['GET', '/audit/export', () => [200, []]],
  ['GET', '/clusters/:id/incidents/:op', ({ w, id, op, now }) => {
    const o = w.operations.get(op);
    const t = o ? Date.parse(o.startedAt) : now;
    const at = (ms, kind, sentence) => ({ at: iso(t + ms), kind, sentence, operationId: null });
    return [200, { title: `${o?.node ?? 'a node'} took over ${id}`, from: iso(t - 30_000), to: iso(t + 60_000), entries: [at(-21_000, 'observed', `${o?.from} was last seen in step with all replicas`), at(-4000, 'alert', 'lease at risk: the agent beside it does not answer'), at(0, 'operation', `${o?.requester} asked for ${o?.node}`), ...(o?.steps ?? []).filter((s) => s.startedAt).map((s) => ({ at: s.startedAt, kind: 'step', sentence: s.title, operationId: op })), at(64, 'role', `${o?.node} leads`), at(2100, 'alert', 'resolved: lease at risk')] }];
  }],
  ['GET', '/alerts', ({ w }) => [200, { alerts: w.scenario === 'empty' ? [] : w.more.alerts }]],
  ['POST', '/alerts/:id/acknowledge', ({ w, now, id, body }) => {
    const a = w.more.alerts.find((x) => x.id === id);
    Object.assign(a, { state: 'acknowledged', acknowledgedBy: 'admin', acknowledgedUntil: body.minutes ? iso(now + body.minutes * 60_000) : null, note: body.note ?? '' });
    return [200, a];
  }],
  ['GET', '/notifications', ({ w }) => [200, w.more.notifications]],
  ['PUT', '/notifications', ({ w, body }) => {
    w.more.notifications = { ...body, deliveries: w.more.notifications.deliveries };
    return [200, w.more.notifications];
  }],
  ['POST', '/notifications/test', ({ now }) => [200, { deliveries: [{ at: iso(now), channel: 'oncall@example.org', subject: 'A test from Baton', tries: 1, ok: true, error: '' }] }]],
  ['GET', '/clusters/:id/history', ({ w, now, id, query }) => [200, history(w, now, id, query)]],
  ['GET', '/clusters/:id/availability', () => [200, { days: 30, percent: 99.998, knownSeconds: 2_592_000, downSeconds: 41, stallSeconds: 0.031, sentence: 'writes were possible 99.998 % of the last 30 days; 31 ms of that were planned promotions' }]],
  ['GET', '/users', ({ w }) => [200, { users: w.more.people }]],
  ['POST', '/users', ({ w, now, body, problem }) => {
    if (w.more.people.some((p) => p.name === body.name)) return problem(409, 'exists', `There is a user ${body.name} already`, '', 'Choose another name.');
    w.more.people.push({ name: body.name, role: body.role, disabled: false, invited: true, pending: true, createdAt: iso(now), lastSeen: null, you: false });
    return [200, { user: w.more.people.at(-1), setupLink: `/set-password#token=bs_f81k2&user=${body.name}`, expiresAt: iso(now + day) }];
  }],
  ['PUT', '/users/:name', ({ w, name, body }) => [200, Object.assign(w.more.people.find((p) => p.name === name), body)]],
  ['POST', '/users/:name/password', ({ w, name, now }) => [200, { user: w.more.people.find((p) => p.name === name), setupLink: `/set-password#token=bs_9x7&user=${name}`, expiresAt: iso(now + day) }]],
  ['DELETE', '/users/:name', ({ w, name }) => {
    w.more.people = w.more.people.filter((p) => p.name !== name);
    return [204, null];
  }],
  ['POST', '/me/password', ({ body, problem }) => (body.old === 'wrong' ? problem(403, 'wrong-password', 'The present password is wrong', '', 'Try again.') : [200, {}])],
  ['GET', '/tokens', ({ w }) => [200, { tokens: w.more.tokens }]],
  ['POST', '/tokens', ({ w, now, body }) => {
    w.more.tokens.push({ id: `t${w.more.tokens.length + 1}`, name: body.name, owner: 'admin', role: body.role, createdAt: iso(now), expiresAt: iso(now + body.days * day), expired: false, lastSeen: null });
    return [200, { token: w.more.tokens.at(-1), secret: 'bt_0d2f7c1e9a44b8d35f60' }];
  }],
  ['DELETE', '/tokens/:id', ({ w, id }) => {
    w.more.tokens = w.more.tokens.filter((t) => t.id !== id);
    return [204, null];
  }],
  ['GET', '/approvals', ({ w }) => [200, { approvals: w.more.approvals }]],
  ['POST', '/approvals/:id/:verdict', ({ w, now, id, verdict }) => {
    const a = w.more.approvals.find((x) => x.id === id);
    Object.assign(a, verdict === 'approve' ? { state: 'started', approver: 'admin' } : { state: 'cancelled', why: 'rejected by admin' }, { endedAt: iso(now), mayApprove: false });
    return [200, a];
  }],
  ['GET', '/clusters/:id/schedules', ({ w, id }) => [200, { schedules: w.more.schedules.filter((s) => s.cluster === id) }]],
  ['DELETE', '/clusters/:id/schedules/:schedule', ({ w, schedule }) => {
    w.more.schedules = w.more.schedules.filter((s) => s.id !== schedule);
    return [200, {}];
  }],
  ['POST', '/operations/:id/cancel', ({ w, now, id, problem }) => {
    const op = w.operations.get(id);
    if (op.pastPointOfNoReturn) return problem(409, 'too-late', 'Too late to cancel', '', 'Switch it back afterwards.');
    op.cancelled = true;
    Object.assign(op, { state: 'rolled-back', endedAt: iso(now), outcome: 'Cancelled by admin; what was done was taken back.' });
    for (const s of op.steps) s.state = s.state === 'done' ? 'undone' : s.state === 'running' ? 'undone' : 'skipped';
    if (op.cluster in w.running) w.running[op.cluster] = null;
    return [200, op];
  }],
  ['POST', '/set-password', ({ body, problem }) => (body.token.startsWith('bs_') ? [200, { username: 'jon', role: 'approver', expiresAt: iso(Date.now() + 12 * hour) }] : problem(403, 'setup-token', 'This link does not work', 'It was used already, or it has expired.', 'Ask an administrator for a new one.'))],
];

function settings(w, id) {
  const p = w.scenario === 'unprotected' ? { ...w.more.policy, deletionProtection: false } : w.more.policy;
  return {
    policy: p,
    revision: '4',
    warnings: [],
    operationId: null,
    consequences: [
      p.durability === 'sync' ? `a write counts once ${p.syncReplicas} replicas have it; writes stop while fewer are in step` : 'a write counts once the primary has it; a sudden death may lose the last 412 B',
      p.failover === 'off' ? 'nothing fails over by itself' : `a dead primary is replaced ${p.failover === 'no-loss' ? 'only by a replica that holds every acknowledged write' : 'by the best replica within 16 MiB'}, after at most ${p.leaseTtlMs / 1000 + 2} s`,
      p.allowCidrs?.length ? `only ${p.allowCidrs.join(', ')} may connect` : 'any network may connect',
    ],
    ifPrimaryDies: 'sessions-2 takes over within 7 s.',
    ifNodeDies: nodes(w, Date.now(), id).filter((n) => n.name !== w.leaders[id]).map((n) => ({ node: n.name, sentence: 'writes go on' })),
  };
}
