// Event stores for the mock server: streams, persistent subscriptions,
// projections and accounts. Scenarios: empty, store-off (neither projections nor
// security), store-login (the store asks for a login).

const iso = (ms) => new Date(ms).toISOString();
const minute = 60_000;

const settings = { strategy: 'RoundRobin', resolveLinks: false, extraStatistics: false, messageTimeoutMs: 30_000, maxRetries: 10, checkpointAfterMs: 2000, minCheckpoint: 10, maxCheckpoint: 1000, maxSubscribers: 0, liveBuffer: 500, historyBuffer: 500, readBatch: 20 };

const sub = (stream, group, over = {}) => ({
  stream, group, state: 'live', replaying: false, status: 'Live', strategy: 'RoundRobin', consumers: 2, lagEvents: '0', lagBytes: null, inFlight: 0, retrying: 0, outstanding: 0, parked: '0', oldestParked: null, perSecond: 12, total: '48210', checkpoint: '48201', known: '48210', ...over,
});

const projection = (name, over = {}) => ({
  name, system: name.startsWith('$'), state: 'running', status: 'Running', reason: '', mode: 'Continuous', progress: 100, position: 'C:8421120/P:8421120', checkpoint: 'C:8419072/P:8419072', checkpointStatus: '', processed: '48210', perSecond: 12.4, buffered: '0', partitions: 1, writesInProgress: 0, readsInProgress: 0, version: '1', epoch: '0', ...over,
});

const query = `fromCategory('order')
  .foreachStream()
  .when({
    $init: () => ({ events: 0, total: 0 }),
    placed: (state, event) => {
      state.events += 1;
      state.total += event.data.amount;
      return state;
    },
  })
  .outputState();
`;

function store(w, now) {
  return (w.store ??= {
    subscriptions: [
      sub('$all', 'audit-export', { lagEvents: null, lagBytes: '734003', state: 'behind', status: 'Behind', consumers: 1, perSecond: 310, checkpoint: 'C:7687117/P:7687117', known: 'C:8421120/P:8421120' }),
      sub('order-events', 'billing', { parked: '7', oldestParked: iso(now - 47 * minute), inFlight: 3, outstanding: 3, lagEvents: '3' }),
      sub('order-events', 'mailer', { consumers: 0, lagEvents: '1204', state: 'behind', status: 'Behind', perSecond: 0, checkpoint: '47006' }),
    ],
    projections: [
      projection('$by_category'),
      projection('$streams', { state: 'stopped', status: 'Stopped', progress: 62.4, perSecond: 0 }),
      projection('invoice-totals', { state: 'faulted', status: 'Faulted (Enabled)', reason: 'line 7, column 24: cannot read property "amount" of undefined, at event 12 of order-1187', progress: 41.3, perSecond: 0, checkpointStatus: '' }),
      projection('order-totals', { partitions: 412, buffered: '18', perSecond: 640.2, progress: 98.7, checkpointStatus: 'Writing', writesInProgress: 1 }),
    ],
    users: [
      { login: 'admin', fullName: 'Event Store Administrator', groups: ['$admins'], disabled: false, created: iso(now - 90 * 24 * 60 * minute), updated: iso(now - 3 * 24 * 60 * minute) },
      { login: 'billing-service', fullName: '', groups: ['readers', 'billing'], disabled: false, created: iso(now - 40 * 24 * 60 * minute), updated: iso(now - 40 * 24 * 60 * minute) },
      { login: 'old-reports', fullName: 'Reports of 2025', groups: ['readers'], disabled: true, created: iso(now - 80 * 24 * 60 * minute), updated: iso(now - 2 * 24 * 60 * minute) },
      { login: 'ops', fullName: 'Event Store Operations', groups: ['$ops'], disabled: false, created: iso(now - 90 * 24 * 60 * minute), updated: iso(now - 90 * 24 * 60 * minute) },
    ],
    own: 'admin',
  });
}

const text = (value) => ({ text: typeof value === 'string' ? value : JSON.stringify(value), base64: false, bytes: typeof value === 'string' ? value.length : JSON.stringify(value).length });

/** Puts the refusals that every route of a store may give before the answer. */
const asked = (answer) => (c) => {
  if (c.w.scenario === 'store-login') return c.problem(409, 'store-login', 'The event store asks for a login', 'demo-1 answers nobody without one, and Baton has none', 'an admin gives Baton one on the cluster’s page Users');
  return answer({ ...c, s: store(c.w, c.now) });
};
const typed = (c, name, answer) => (c.body.typedName === name ? answer() : c.problem(422, 'typed-name-mismatch', 'The typed name does not match', 'what was typed is not the name', 'type the name exactly'));
const empty = (c, list) => (c.w.scenario === 'empty-store' ? [] : list);

export const storeRoutes = [
  ['GET', '/clusters/:id/streams', asked((c) => [200, { looked: 2000, streams: empty(c, ['order-1187', 'order-events', 'cart-7f3a', 'customer-41'].map((name, i) => ({ name, revision: String(48210 - i * 977), type: ['placed', 'order-paid', 'item-added', 'moved'][i], at: iso(c.now - i * 7400), events: 930 - i * 211 }))) }])],
  ['GET', '/clusters/:id/streams/events', asked((c) => [200, { stream: c.query.get('stream'), exists: true, metadata: text({ $maxAge: 2_592_000 }), events: [2, 1, 0].map((i) => ({ stream: c.query.get('stream'), revision: String(i), id: `6f1c0d5e-0000-4000-8000-00000000000${i}`, type: ['opened', 'item-added', 'placed'][i], at: iso(c.now - (3 - i) * minute), json: true, data: text({ item: 'A-100', amount: 2 + i, currency: 'EUR' }), metadata: text(''), link: null })) }])],
  ['POST', '/clusters/:id/streams/events', asked(() => [200, { revision: '3' }])],
  ['POST', '/clusters/:id/streams/delete', asked((c) => typed(c, c.body.stream, () => [200, { sentence: 'It is deleted' }]))],
  ['GET', '/clusters/:id/subscriptions', asked((c) => [200, { subscriptions: empty(c, c.s.subscriptions) }])],
  ['GET', '/clusters/:id/subscriptions/info', asked((c) => {
    const s = c.s.subscriptions.find((x) => x.stream === c.query.get('stream') && x.group === c.query.get('group'));
    if (!s) return c.problem(409, 'refused-by-checks', 'The event store refuses it', 'there is no such persistent subscription', '');
    return [200, { subscription: s, from: 'start', settings: { ...settings, strategy: s.strategy }, consumers: Array.from({ length: s.consumers }, (_, i) => ({ from: `10.0.0.${21 + i}:5163${i}`, user: 'billing-service', name: `worker-${i + 1}`, perSecond: 6, total: String(24_105 - i), inFlight: i === 0 ? s.inFlight : 0, free: 10 - (i === 0 ? s.inFlight : 0) })) }];
  })],
  ['POST', '/clusters/:id/subscriptions', asked((c) => {
    const made = sub(c.body.stream, c.body.group, { consumers: 0, perSecond: 0, total: '0', checkpoint: '' });
    c.s.subscriptions.push(made);
    return [200, { subscription: made, from: c.body.from, settings, consumers: [] }];
  })],
  ['PUT', '/clusters/:id/subscriptions', asked((c) => [200, { subscription: c.s.subscriptions[1], from: 'start', settings: c.body.settings, consumers: [] }])],
  ['POST', '/clusters/:id/subscriptions/replay', asked((c) => {
    for (const s of c.s.subscriptions) if (s.group === c.body.group) Object.assign(s, { parked: '0', oldestParked: null, replaying: true });
    return [200, { sentence: '7 parked events go to the consumers again, oldest first' }];
  })],
  ['POST', '/clusters/:id/subscriptions/delete', asked((c) => typed(c, c.body.group, () => {
    c.s.subscriptions = c.s.subscriptions.filter((s) => s.group !== c.body.group);
    return [200, { sentence: 'It is deleted' }];
  }))],
  ['GET', '/clusters/:id/projections', asked((c) => [200, c.w.scenario === 'store-off' ? { available: false, why: 'This node was started without projections', fix: 'start the nodes with --run-projections=All (custom ones too) or --run-projections=System (only the store’s own)', projections: [] } : { available: true, why: '', fix: '', projections: empty(c, c.s.projections) }])],
  ['GET', '/clusters/:id/projections/info', asked((c) => {
    const p = c.s.projections.find((x) => x.name === c.query.get('name'));
    if (!p) return c.problem(409, 'refused-by-checks', 'The event store refuses it', 'there is no such projection', '');
    return [200, { projection: p, query: p.system ? '' : query, queryKnown: true, emit: false, track: false, partitions: p.system ? [] : ['order-1187', 'order-1188', 'order-41'] }];
  })],
  ['GET', '/clusters/:id/projections/state', asked((c) => [200, { name: c.query.get('name'), partition: c.query.get('partition') ?? '', state: c.query.get('partition') ? text({ events: 12, total: 418.5 }) : null, result: c.query.get('partition') ? text({ events: 12, total: 418.5 }) : null }])],
  ['POST', '/clusters/:id/projections', asked((c) => {
    c.s.projections.push(projection(c.body.name, { progress: 3.2 }));
    return [200, { projection: c.s.projections.at(-1), query: c.body.query, queryKnown: true, emit: c.body.emit, track: c.body.track, partitions: [] }];
  })],
  ['PUT', '/clusters/:id/projections', asked((c) => [200, { projection: c.s.projections[3], query: c.body.query, queryKnown: true, emit: c.body.emit, track: false, partitions: [] }])],
  ['POST', '/clusters/:id/projections/command', asked((c) => {
    for (const p of c.s.projections) if (p.name === c.body.name) Object.assign(p, c.body.command === 'enable' ? { state: 'running', status: 'Running' } : { state: 'stopped', status: 'Stopped', perSecond: 0 });
    return [200, { sentence: 'Done' }];
  })],
  ['POST', '/clusters/:id/projections/delete', asked((c) => typed(c, c.body.name, () => {
    c.s.projections = c.s.projections.filter((p) => p.name !== c.body.name);
    return [200, { sentence: 'It is deleted' }];
  }))],
  ['GET', '/clusters/:id/store-users', asked((c) => [200, c.w.scenario === 'store-off' ? { secure: false, users: [], own: '' } : { secure: true, users: c.s.users, own: c.s.own }])],
  ['POST', '/clusters/:id/store-users', asked((c) => {
    c.s.users.push({ login: c.body.login, fullName: c.body.fullName, groups: c.body.groups, disabled: false, created: iso(c.now), updated: iso(c.now) });
    return [201, { login: c.body.login, password: c.body.password ? '' : 'q7fW2kd93HsLm0xQv81nAcZr5tB6yU4e', sentence: 'It may sign in' }];
  })],
  ['PUT', '/clusters/:id/store-users/:login', asked((c) => {
    const u = c.s.users.find((x) => x.login === c.login);
    return [200, Object.assign(u, c.body)];
  })],
  ['POST', '/clusters/:id/store-users/:login/password', asked((c) => [200, { login: c.login, password: c.body.password ? '' : 'q7fW2kd93HsLm0xQv81nAcZr5tB6yU4e', sentence: 'It has another password' }])],
  ['POST', '/clusters/:id/store-users/:login/delete', asked((c) => typed(c, c.login, () => {
    c.s.users = c.s.users.filter((u) => u.login !== c.login);
    return [200, { sentence: 'It is deleted' }];
  }))],
  ['GET', '/clusters/:id/store-login', ({ w }) => [200, login(w)]],
  ['PUT', '/clusters/:id/store-login', ({ w, body, problem }) => {
    if (body.password === 'wrong') return problem(422, 'wrong-login', 'The event store refuses this login', `demo-1 does not take the password for user “${body.user}”; nothing was kept`, 'check name and password; the account must be enabled');
    w.scenario = 'normal';
    return [200, login(w)];
  }],
  ['DELETE', '/clusters/:id/store-login', ({ w }) => {
    w.scenario = 'store-login';
    return [200, login(w)];
  }],
];

function login(w) {
  if (w.scenario === 'store-login') return { kept: false, user: '', refused: ['demo-1', 'demo-2'], missed: [], sentence: 'demo-1, demo-2 ask for a login, and Baton has none' };
  if (w.scenario === 'store-off') return { kept: false, user: '', refused: [], missed: [], sentence: 'Baton signs in without a login' };
  return { kept: true, user: 'admin', refused: [], missed: [], sentence: 'Baton signs in as admin' };
}
