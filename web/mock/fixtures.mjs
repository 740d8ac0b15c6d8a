// Realistic answers of the control API, as functions of the time, for looking
// at the dashboard without a control plane. Never part of a build.

const iso = (ms) => new Date(ms).toISOString();
const wave = (t, i, base, span) => Math.max(0, Math.round(base + span * Math.sin(t / 4000 + i) + span * 0.3 * Math.sin(t / 900 + 2 * i)));
const history = (now, base, span) => Array.from({ length: 60 }, (_, i) => wave(now - (59 - i) * 1000, 0, base, span));

const hardware = (gib) => ({
  cores: 2,
  memoryBytes: String(gib * 2 ** 30),
  diskFreeBytes: String(Math.round(61.4 * 2 ** 30)),
  diskTotalBytes: String(98 * 2 ** 30),
  model: 'AMD EPYC 7R13',
});

/** The state that scenarios bend and promotions change. */
export function world() {
  return {
    scenario: 'normal',
    leaders: { demo: 'demo-1', sessions: 'sessions-1', ledger: null },
    generations: { demo: 7, sessions: 3, ledger: 12 },
    operations: new Map(),
    running: { demo: null, sessions: null, ledger: null },
    audit: { demo: [], sessions: [], ledger: [] },
    users: new Map([['admin', 'correct horse battery']]),
    needsSetup: false,
    role: 'admin',
  };
}

function node(w, now, cluster, name, over = {}) {
  const lead = w.leaders[cluster] === name;
  const es = cluster !== 'sessions';
  const stale = w.scenario === 'stale';
  return {
    name,
    role: lead ? (es ? 'leader' : 'primary') : es ? 'follower' : 'replica',
    shouldBe: null,
    status: { level: 'up', sentence: lead ? 'Takes the writes' : 'Follows and is in step' },
    promotable: lead ? { ok: false, reason: 'it leads already' } : { ok: true, reason: 'holds every acknowledged write' },
    lagBytes: lead ? null : '0',
    lagSeconds: lead ? null : 0,
    priority: 0,
    hardware: hardware(es ? 8 : 4),
    provider: 'local',
    location: `rack-${name.at(-1) <= '2' ? 'a' : 'b'}`,
    address: `127.0.0.1:${(es ? 2113 : 6379) + Number(name.at(-1)) - 1}`,
    engineVersion: es ? '26.1.0' : '7.0.15',
    position: String(48_273_991_204n + BigInt(Math.floor((now % 1e9) / 10)) * 212n),
    term: es ? String(w.generations[cluster]) : null,
    lastUpdate: iso(stale ? now - 14_000 - (now % 1000) : now - 120),
    observedBy: 'agent-1',
    agent: 'agent-1',
    pid: 4100 + Number(name.at(-1)),
    tags: { priority: 100, noFailover: false, never: false, noSync: false, noBackup: false, expires: null, maintenance: null },
    ...over,
  };
}

export function nodes(w, now, id) {
  if (id === 'demo') {
    const clone = (name, lag) =>
      w.leaders.demo === name
        ? node(w, now, 'demo', name)
        : node(w, now, 'demo', name, {
            role: 'clone',
            status: { level: 'up', sentence: 'Copies, does not vote' },
            promotable: { ok: true, reason: 'would catch up 2 KiB first, then vote, then lead' },
            lagBytes: String(lag),
            lagSeconds: lag / 60_000,
          });
    return [
      node(w, now, 'demo', 'demo-1', { priority: 10 }),
      node(w, now, 'demo', 'demo-2', { priority: 5 }),
      node(w, now, 'demo', 'demo-3'),
      clone('demo-4', 2048),
      clone('demo-5', 14_336),
    ];
  }
  if (id === 'sessions') {
    return [
      node(w, now, 'sessions', 'sessions-1'),
      node(w, now, 'sessions', 'sessions-2', { lagBytes: '412', lagSeconds: 0.004 }),
      node(w, now, 'sessions', 'sessions-3', {
        status: { level: 'down', sentence: 'Process is not running; the agent tries to start it' },
        promotable: { ok: false, reason: 'it is down: the agent has seen no process for 42 s' },
        lagBytes: null,
        lagSeconds: null,
        lastUpdate: iso(now - 42_000),
        pid: null,
      }),
    ];
  }
  return [
    node(w, now, 'ledger', 'ledger-1', { role: 'unknown', shouldBe: 'leader', status: { level: 'down', sentence: 'Host does not answer' }, promotable: { ok: false, reason: 'it is down' }, lastUpdate: iso(now - 95_000), lagBytes: null, lagSeconds: null }),
    node(w, now, 'ledger', 'ledger-2', { role: 'unknown', status: { level: 'down', sentence: 'Host does not answer' }, promotable: { ok: false, reason: 'it is down' }, lastUpdate: iso(now - 93_000), lagBytes: null, lagSeconds: null }),
    node(w, now, 'ledger', 'ledger-3', { status: { level: 'degraded', sentence: 'Sees no majority, takes no writes' }, promotable: { ok: false, reason: 'no quorum: ledger-1 and ledger-2 are missing' }, lagBytes: null, lagSeconds: null }),
  ];
}

const verdicts = {
  demo: { level: 'healthy', sentence: 'Healthy: can lose 1 node without losing a write or stopping.' },
  sessions: { level: 'degraded', sentence: 'Degraded: sessions-3 is not in step, 1 other replica is; writes of the last moment may be on the primary alone' },
  ledger: { level: 'down', sentence: 'Down: no leader, because 2 of 3 voters are missing (ledger-1, ledger-2).' },
};

export function summary(w, now, id) {
  const all = nodes(w, now, id);
  const leader = w.leaders[id];
  const es = id !== 'sessions';
  const base = id === 'demo' ? [842, 70] : id === 'sessions' ? [5210, 640] : [0, 0];
  const observedAt = iso(w.scenario === 'stale' ? now - 14_000 - (now % 1000) : now - 150);
  const last = w.audit[id].find((r) => r.outcome === 'done');
  return {
    id,
    name: id,
    engine: es ? 'eventstore' : 'redis',
    version: es ? '26.1.0' : '7.0.15',
    verdict: verdicts[id],
    primary: leader ? { node: leader, location: all.find((n) => n.name === leader).location } : null,
    membersUp: all.filter((n) => n.status.level === 'up').length,
    membersTotal: all.length,
    worstLagBytes: id === 'demo' ? '14336' : id === 'sessions' ? '412' : null,
    writesPerSecond: id === 'ledger' ? 0 : wave(now, 0, ...base),
    writesHistory: history(now, ...base),
    lastRoleChange: last
      ? { at: last.at, sentence: `${last.node} took over, by ${last.who}`, operationId: last.operationId }
      : id === 'ledger' ? { at: iso(now - 95_000), sentence: 'ledger-1 lost its majority', operationId: null } : null,
    generation: String(w.generations[id]),
    observedAt,
    runningOperation: w.running[id],
  };
}

export const ids = ['demo', 'sessions', 'ledger'];

export function detail(w, now, id) {
  const all = nodes(w, now, id);
  const leader = w.leaders[id];
  const links = leader
    ? all.filter((n) => n.name !== leader).map((n) => ({
        from: leader,
        to: n.name,
        kind: n.role === 'follower' ? 'sync' : 'async',
        lagBytes: n.lagBytes,
        lagSeconds: n.lagSeconds,
        up: n.status.level !== 'down',
      }))
    : [];
  const port = (n) => n.address;
  const connections =
    id === 'sessions'
      ? [
          { label: 'Read and write (now)', value: `redis://${leader ? port(all.find((n) => n.name === leader)) : ''}`, help: 'The primary at this moment. Clients that keep only this address must be told after a promotion.' },
          { label: 'All nodes', value: `redis://${all.map(port).join(',')}`, help: 'For clients that ask each node for its role.' },
          { label: 'Read only', value: `redis://${all.slice(1).map(port).join(',')}`, help: 'The replicas; what they answer may be a moment old.' },
        ]
      : [
          { label: 'All nodes (clients find the leader)', value: `esdb://${all.slice(0, 3).map(port).join(',')}?tls=false`, help: 'Official clients follow the leader by themselves.' },
          { label: 'Leader', value: `esdb://${leader ? port(all.find((n) => n.name === leader)) : port(all[2])}?tls=false`, help: 'Direct. Writes to another node are forwarded.' },
          { label: 'Read only', value: `esdb://${port(all.at(-1))}?tls=false&nodePreference=readonlyreplica`, help: 'A clone: may be a little behind.' },
        ];
  const able = id === 'sessions' && w.scenario !== 'watched';
  const why = id === 'sessions' ? 'Baton did not make the servers of this cluster: it watches and promotes them, and leaves their files alone.' : 'Baton does not do this for clusters of this engine.';
  return {
    ...summary(w, now, id),
    capabilities: ['add-node', 'restart-parameters', 'users', 'restore-in-place'].map((action) => ({ action, ok: able, why: able ? '' : why })),
    nodes: all,
    links,
    connections,
    activity: w.audit[id].slice(0, 10),
    durability: id === 'sessions' ? 'A write counts once the primary has it; replicas follow' : 'A write counts once 2 of 3 voters have it on disk',
  };
}

const check = (id, subject, measured, unit, warnAt, refuseAt, verdict = 'pass', why = '', fix = '') => ({ id, subject, measured, unit, warnAt, refuseAt, verdict, overridable: verdict === 'warn', why, fix });

export function report(w, now, id, name) {
  const n = nodes(w, now, id).find((x) => x.name === name);
  const down = n.status.level === 'down';
  const lead = w.leaders[id] === name;
  const lead1 = w.leaders[id];
  const lagKnown = n.lagBytes !== null;
  const checks = [
    check('cp.quorum', 'control plane', 'writable', '', '', 'not writable', 'pass', 'the journal takes writes'),
    check('operation.running', id, 'none', '', '', 'any', 'pass', 'nothing else runs on the cluster'),
    check('agent.fresh', name, '0.4', 's', '2', '5', 'pass', `the agent beside ${name} reports`),
    w.scenario === 'skew'
      ? { ...check('clock.skew', name, '7200', 'ms', '500', '5000', 'refuse', `the clock of ${name}'s host is off: times in its records will be wrong`, 'start its time service'), overridable: true }
      : check('clock.skew', name, '2', 'ms', '500', '5000', 'pass', `the clock of ${name}'s host agrees with ours`),
    check('primary.known', id, lead1 ?? 'none', '', '', 'not exactly one', lead1 ? 'pass' : 'refuse', lead1 ? 'one primary is seen' : 'no node leads: two voters are missing', lead1 ? '' : 'bring ledger-1 or ledger-2 back'),
    check('engine.up', name, down ? 'no answer' : '1', down ? '' : 'ms', '100', '1000 or no answer', down ? 'refuse' : 'pass', down ? 'it does not answer: the agent has seen no process for 42 s' : 'answers', down ? `start it on ${n.agent}, or remove it from the cluster` : ''),
    check('role.replica', name, lead ? 'leads' : n.role, '', '', 'not a replica of the primary', lead ? 'refuse' : 'pass', lead ? 'it is the leader already' : 'it copies from the primary', lead ? 'choose another node' : ''),
    check('lag.bytes', name, lagKnown ? n.lagBytes : 'unknown', lagKnown ? 'bytes' : '', '1 MiB', '64 MiB', lagKnown || lead ? 'pass' : 'unknown', lagKnown || lead ? 'it is close to the primary' : 'its position was not read for 42 s, so what it lacks is not known', lagKnown || lead ? '' : 'bring it up; its position is read within half a second'),
    check('lag.seconds', name, '0.0', 's', '1', '10', 'pass', 'what it applied is fresh'),
    check('version.order', name, n.engineVersion, '', 'differs', 'older major', 'pass', 'all members run the same version'),
    check('disk.free', name, '62', '%', '20', '10', 'pass', 'enough space is free on its data volume'),
    check('cpu.load', name, name === 'demo-3' ? '1.24' : '0.31', 'per core', '0.8', '2.0', name === 'demo-3' ? 'warn' : 'pass', name === 'demo-3' ? 'its machine is busy: the stall may be longer than the estimate' : 'its machine has room', name === 'demo-3' ? 'find what else runs there, or choose demo-2' : ''),
    check('tags', name, `priority ${n.priority}`, '', 'priority 0', 'never', 'pass', 'no tag stands in the way'),
  ];
  const bad = checks.find((c) => c.verdict === 'refuse' || c.verdict === 'unknown');
  return {
    node: name,
    promotable: !bad,
    reason: bad ? `no, because ${bad.why}` : checks.some((c) => c.verdict === 'warn') ? 'yes, with 1 warning(s)' : 'yes',
    hash: `sha256:${id}-${name}-${w.generations[id]}`,
    generation: String(w.generations[id]),
    at: iso(now),
    checks,
  };
}

const redisSteps = (a, b) => [
  ['check', `Check ${b}`, `INFO replication; CONFIG GET min-replicas-*`, b, false, 'nothing to undo'],
  ['pause-writes', 'Pause writes', 'CLIENT PAUSE 2000 WRITE', a, false, 'CLIENT UNPAUSE'],
  ['wait-offset', 'Wait for equal offsets', 'INFO replication until master_repl_offset is equal', b, false, 'writes resume'],
  ['demote', `Make ${a} a replica`, `REPLICAOF 127.0.0.1 6380`, a, false, 'REPLICAOF NO ONE'],
  ['promote', `Promote ${b}`, 'REPLICAOF NO ONE', b, true, 'none: completed forward'],
  ['repoint', 'Point the other replicas at it', 'REPLICAOF 127.0.0.1 6380', 'sessions-3', false, 'repeated until done'],
  ['verify', 'Verify roles and write through it', 'ROLE; SET; GET', b, false, 'repeated until done'],
  ['persist', 'Keep it over restarts', 'CONFIG REWRITE', b, false, 'repeated until done'],
];
const storeSteps = (a, b) => [
  ['check', `Check ${b}`, 'GET /cluster', b, false, 'nothing to undo'],
  ['probe', 'Start the probe writer', 'append every 10 ms to $baton-probe', a, false, 'the probe stops'],
  ['transfer', `Hand leadership to ${b}`, `POST /cluster/promote {"node":"${b}","as":"leader"}`, a, true, 'none: completed forward'],
  ['verify', `Verify that ${b} leads`, 'GET /cluster on every node; one quorum read', b, false, 'repeated until done'],
  ['read-back', 'Read the probe’s writes back', 'read $baton-probe from every node', b, false, 'repeated until done'],
];
const stepsOf = (w, id, name) => (id === 'sessions' ? redisSteps : storeSteps)(w.leaders[id] ?? 'nobody', name);

export function plan(w, now, id, name, overrides = []) {
  const r = report(w, now, id, name);
  const refusals = r.checks
    .filter((c) => (c.verdict === 'refuse' || (c.verdict === 'unknown' && !r.promotable)) && !(c.overridable && overrides.includes(c.id)))
    .map((c) => ({ code: c.id, title: c.why, detail: `${c.subject}: ${c.measured}`, fix: c.fix }));
  return {
    node: name,
    report: r,
    refused: refusals.length > 0,
    refusals,
    steps: stepsOf(w, id, name).map(([sid, title, command, node, pointOfNoReturn, undo]) => ({ id: sid, title, command, node, pointOfNoReturn, undo })),
    expectedStallMs: id === 'sessions' ? 6 : 22,
    catchUpMs: name === 'demo-4' || name === 'demo-5' ? 140 : 0,
    stallBudgetMs: 2000,
    possibleLoss: 'Nothing. Writes are held until the candidate has every acknowledged one.',
    generation: r.generation,
    cli: `baton promote ${id} ${name} --confirm ${name}`,
  };
}

/** An operation at its start; `advance` moves it. */
export function begin(w, now, id, name, { requester = 'admin', source = 'ui', reason = '', kind = 'promotion' } = {}) {
  const from = w.leaders[id];
  const roles = nodes(w, now, id).map((n) => ({ node: n.name, role: n.role }));
  const op = {
    id: `op-${Math.random().toString(36).slice(2, 10)}`,
    kind,
    cluster: id,
    node: name,
    from,
    state: 'running',
    pastPointOfNoReturn: false,
    steps: stepsOf(w, id, name).map(([sid, title, command, node, pointOfNoReturn]) => ({ id: sid, title, node, command, state: 'pending', pointOfNoReturn, startedAt: null, endedAt: null, detail: '' })),
    requester,
    source,
    reason,
    startedAt: iso(now),
    endedAt: null,
    stall: null,
    proof: null,
    outcome: '',
    undo: null,
    rolesBefore: roles,
    rolesAfter: [],
    reportHash: `sha256:${id}-${name}`,
    generation: String(w.generations[id]),
  };
  w.operations.set(op.id, op);
  w.running[id] = op.id;
  return op;
}

/** Ends the running step and starts the next; returns whether the operation goes on. */
export function advance(w, now, op) {
  const i = op.steps.findIndex((s) => s.state === 'running');
  if (i >= 0) {
    op.steps[i].state = 'done';
    op.steps[i].endedAt = iso(now);
    if (op.steps[i].pointOfNoReturn) {
      w.leaders[op.cluster] = op.node;
      w.generations[op.cluster]++;
    }
  }
  const next = op.steps[i + 1];
  if (next) {
    next.state = 'running';
    next.startedAt = iso(now);
    if (next.pointOfNoReturn) op.pastPointOfNoReturn = true;
    return true;
  }
  finish(w, now, op, 'done');
  return false;
}

export function finish(w, now, op, state) {
  op.state = state;
  op.endedAt = iso(now);
  w.running[op.cluster] = null;
  const done = state === 'done';
  op.stall = { probeMs: op.cluster === 'sessions' ? 7.4 : 24.2, agentMs: 5.1, longestGapMs: op.cluster === 'sessions' ? 7.4 : 24.2 };
  op.rolesAfter = nodes(w, now, op.cluster).map((n) => ({ node: n.name, role: n.role }));
  op.proof = {
    acked: '1204', readBack: '1204', lost: '0',
    sentence: '1204 probe writes acknowledged, 1204 read back from every node.',
    positionOld: '48273991204', positionNew: '48273991204',
  };
  op.outcome = done ? `${op.node} leads since ${op.endedAt.slice(11, 19)} UTC. Nothing was lost.` : state === 'rolled-back' ? `The offsets were not equal within 2 s. Writes resumed on ${op.from}; nothing was lost.` : `${op.node} was promoted, but sessions-3 does not follow it yet. Point it there by hand.`;
  op.undo = done ? { available: true, until: iso(now + 15 * 60_000), node: op.from, why: '' } : { available: false, until: iso(now), node: op.from ?? '', why: 'There is nothing to switch back: roles did not change.' };
  log(w, now, op.cluster, { who: op.requester, source: op.source, what: op.kind === 'promotion' ? `promoted ${op.node} in place of ${op.from}` : `switched back to ${op.node}`, node: op.node, outcome: state === 'needs-human' ? 'failed' : state, stallMs: op.stall.longestGapMs, operationId: op.id, detail: op.reason });
}

let serial = 100;
export function log(w, now, cluster, row) {
  const full = { id: String(++serial), at: iso(now), who: 'admin', role: w.role, source: 'ui', ip: '127.0.0.1', what: '', cluster, node: '', outcome: 'done', stallMs: null, operationId: null, detail: '', hash: `9f2c${(serial * 7919).toString(16)}e04b7d1a`, ...row };
  w.audit[cluster].unshift(full);
  return full;
}

/** Some past, so that lists have something to show. */
export function remember(w, now) {
  const past = (minutes, id, name, state, extra) => {
    const at = now - minutes * 60_000;
    const op = begin(w, at, id, name, extra);
    const before = w.leaders[id];
    op.steps.forEach((s, i) => {
      const stop = state !== 'done' && i > 2;
      Object.assign(s, stop ? { state: 'skipped' } : { state: 'done', startedAt: iso(at + i * 9), endedAt: iso(at + i * 9 + 8) });
    });
    if (state === 'done') {
      op.pastPointOfNoReturn = true;
      w.leaders[id] = name;
      w.generations[id]++;
    } else if (state === 'rolled-back') {
      Object.assign(op.steps[2], { state: 'failed', detail: 'Offsets differed by 88 B when the 2 s were over.' });
      op.steps[1].state = 'undone';
    }
    finish(w, at + 60, op, state);
    if (state !== 'done') w.leaders[id] = before;
    return op;
  };
  past(2900, 'demo', 'demo-2', 'done', { requester: 'mira', source: 'cli', reason: 'kernel update on rack a' });
  past(2840, 'demo', 'demo-1', 'done', { requester: 'mira', source: 'cli', kind: 'switch-back' });
  past(300, 'sessions', 'sessions-2', 'rolled-back', { requester: 'jon', source: 'ui' });
  log(w, now - 26 * 60_000, 'demo', { who: 'jon', role: 'operator', what: 'tried to promote demo-3', node: 'demo-3', outcome: 'refused', detail: 'the typed name was demo-2, not demo-3' });
  past(12, 'demo', 'demo-3', 'done', { requester: 'admin', source: 'ui', reason: 'try it out' });
  past(9, 'demo', 'demo-1', 'done', { requester: 'admin', source: 'ui', kind: 'switch-back' });
  log(w, now - 40_000, 'sessions', { who: 'admin', what: 'tried to promote sessions-3', node: 'sessions-3', outcome: 'refused', detail: 'it is down: the agent has seen no process for 42 s' });
}

const host = (name, agent, { instances, ...over }) => ({
  id: agent, name, agent, os: 'Debian 12, Linux 6.1', arch: 'amd64', cores: 2, memoryBytes: '0', model: '', load1: 0.31, disk: { free: String(61 * 2 ** 30), total: String(98 * 2 ** 30) }, provider: 'local', location: '', version: '0.2.0', connected: true,
  joinedAt: null, supervision: 'child', instances: instances.map(([cluster, node, role]) => ({ cluster, node, role })), ...over,
});

export function hosts(w, now) {
  return [
    host('rack-a-1', 'agent-1', { cores: 2, memoryBytes: String(24 * 2 ** 30), location: 'rack-a', lastReport: iso(now - 200), instances: [['demo', 'demo-1', 'leader'], ['demo', 'demo-2', 'follower'], ['sessions', 'sessions-1', 'primary'], ['sessions', 'sessions-2', 'replica']] }),
    host('rack-b-1', 'agent-2', { cores: 4, memoryBytes: String(16 * 2 ** 30), location: 'rack-b', lastReport: iso(now - 300), disk: { free: String(7 * 2 ** 30), total: String(98 * 2 ** 30) }, load1: 1.92, supervision: 'systemd', instances: [['demo', 'demo-3', 'follower'], ['sessions', 'sessions-3', 'replica']] }),
    host('rack-c-1', 'agent-3', { cores: 8, memoryBytes: String(32 * 2 ** 30), provider: 'ssh', location: 'rack-c', lastReport: iso(now - 400), instances: [] }),
    host('rack-d-1', 'agent-4', { cores: 8, memoryBytes: String(32 * 2 ** 30), provider: 'ssh', location: 'rack-d', lastReport: iso(now - 42_000), connected: false, instances: [] }),
  ];
}
