// Goal: each page says something true in each of its four faces, and each act
// sends what it shows. Method: the whole dashboard at an address, with answers
// given by route.

import { cleanup, fireEvent, screen, waitFor, within } from '@testing-library/react';
import { expect, it, vi } from 'vitest';
import { at, cluster, node } from './fixtures';
import { openPage, type Answer } from './page';

const now = new Date().toISOString();
const session = { username: 'ann', role: 'admin', expiresAt: '2099-01-01T00:00:00Z' };
const redis = cluster({
  id: 'shop', name: 'shop', engine: 'redis', observedAt: now, generation: '9',
  nodes: [node({ name: 'shop-1', role: 'primary', lastUpdate: now }), node({ name: 'shop-2', role: 'replica', lastUpdate: now })],
});
const base: Record<string, Answer> = {
  'GET /session': session,
  'GET /clusters': { clusters: [redis] },
  'GET /clusters/shop': redis,
  'GET /hosts': { hosts: [] },
  'GET /alerts': { alerts: [] },
  'GET /approvals': { approvals: [] },
};
const open = (address: string, answers: Record<string, Answer> = {}) => openPage(address, { ...base, ...answers });
const unavailable: Answer = [503, { title: 'The control plane is starting', status: 503, code: 'unavailable', detail: 'Its journal is being read.', fix: 'Wait some seconds.', retry: true }];

const alert = { id: 'a1', cluster: 'shop', node: 'shop-2', kind: 'lag', severity: 'critical', state: 'firing', since: now, lastSeen: now, sentence: 'shop-2 is 80 MiB behind', fix: 'look at its disk', acknowledgedBy: null, acknowledgedUntil: null, note: '', resolvedAt: null };

// Address, route that fills the page, what its loading face is called, an empty answer and what it then says.
const faces: [string, string, string, Answer, RegExp][] = [
  ['/alerts', 'GET /alerts', 'Loading the alerts', { alerts: [] }, /Nothing needs you/],
  ['/approvals', 'GET /approvals', 'Loading the approvals', { approvals: [] }, /Nothing waits for you/],
  ['/activity', 'GET /activity', 'Loading the activity', { rows: [], next: '' }, /Nothing was done yet/],
  ['/users', 'GET /users', 'Loading the users', { users: [] }, /You are alone here/],
  ['/hosts', 'GET /hosts', 'Loading the hosts', { hosts: [] }, /No host has joined yet/],
  ['/clusters/new', 'GET /engines', 'Asking the hosts what they can run', { engines: [] }, /No host can run an engine yet/],
  ['/clusters/shop/backups', 'GET /clusters/shop/backups', 'Loading the backups', { window: { earliest: null, latest: null }, schedule: '', keep: 0, target: '', backups: [], lastDrill: null }, /No backup was taken yet/],
  ['/clusters/shop/incidents/op-1', 'GET /clusters/shop/incidents/op-1', 'Loading the timeline', { title: '', entries: [] }, /Nothing was recorded/],
];

for (const [address, route, label, empty, says] of faces) {
  it(`${address}: loading, error and empty`, async () => {
    open(address, { [route]: 'never' });
    await screen.findByLabelText(label);
    cleanup();
    open(address, { [route]: unavailable });
    await screen.findByText('The control plane is starting');
    expect(screen.getByText('Wait some seconds.')).toBeTruthy();
    cleanup();
    open(address, { [route]: empty });
    await screen.findByText(says);
  });
}

it('counts firing alerts in the frame and acknowledges one', async () => {
  const { user, calls } = open('/alerts', { 'GET /alerts': { alerts: [alert] }, 'POST /alerts/a1/acknowledge': alert });
  await screen.findByText('shop-2 is 80 MiB behind');
  expect(screen.getAllByText(/firing, critical/i).length).toBeGreaterThan(0);
  await user.click(screen.getByRole('button', { name: 'Acknowledge' }));
  const dialog = await screen.findByTestId('action-dialog');
  await user.type(within(dialog).getByLabelText('Silent for, minutes'), '30');
  await user.type(within(dialog).getByRole('textbox', { name: 'Reason' }), 'known');
  await user.click(within(dialog).getByTestId('act'));
  await waitFor(() => expect(calls).toEqual([{ method: 'POST', path: '/alerts/a1/acknowledge', body: { minutes: 30, note: 'known' } }]));
});

it('removes a node only once its name is typed', async () => {
  const { user, calls } = open('/clusters/shop/nodes', { 'POST /clusters/shop/nodes/shop-2/remove': [202, { operationId: 'op-9' }] });
  await user.click(await screen.findByRole('button', { name: 'More for shop-2' }));
  await user.click(await screen.findByText('Remove node…'));
  const dialog = await screen.findByTestId('action-dialog');
  const act = within(dialog).getByTestId<HTMLButtonElement>('act');
  expect(act.disabled).toBe(true);
  await user.type(within(dialog).getByTestId('typed-name'), 'shop-1');
  expect(act.disabled).toBe(true);
  await user.clear(within(dialog).getByTestId('typed-name'));
  await user.type(within(dialog).getByTestId('typed-name'), 'shop-2');
  await user.click(act);
  await waitFor(() => expect(calls).toEqual([{ method: 'POST', path: '/clusters/shop/nodes/shop-2/remove', body: { typedName: 'shop-2', generation: '9', wipe: false } }]));
});

it('offers the primary neither removal nor resync', async () => {
  const { user } = open('/clusters/shop/nodes');
  await user.click(await screen.findByRole('button', { name: 'More for shop-1' }));
  await screen.findByText('Priority and tags…');
  expect(screen.queryByText('Remove node…')).toBeNull();
  expect(screen.queryByText('Resync…')).toBeNull();
});

it('shows a viewer no act', async () => {
  open('/clusters/shop/nodes', { 'GET /session': { ...session, role: 'viewer' } });
  await screen.findByTestId('node-shop-2');
  expect(screen.queryByRole('button', { name: 'Add node' })).toBeNull();
  expect(screen.queryByRole('button', { name: 'More for shop-2' })).toBeNull();
});

it('shows a one-use link once, and is left only when it is stored', async () => {
  const { user } = open('/users', {
    'GET /users': { users: [{ name: 'ann', role: 'admin', disabled: false, createdAt: at(0), lastSeen: now }] },
    'POST /users': { user: {}, setupLink: '/set-password#token=abc', expiresAt: '2099-01-01T00:00:00Z' },
  });
  await user.click(await screen.findByRole('button', { name: 'Add user' }));
  const dialog = await screen.findByTestId('action-dialog');
  await user.type(within(dialog).getByLabelText('User name'), 'bob');
  await user.click(within(dialog).getByTestId('act'));
  const secret = await screen.findByTestId('secret');
  expect(within(secret).getByText(/set-password#token=abc/)).toBeTruthy();
  expect(within(secret).getByRole<HTMLButtonElement>('button', { name: 'Done' }).disabled).toBe(true);
  await user.click(within(secret).getByLabelText('I have stored it'));
  await user.click(within(secret).getByRole('button', { name: 'Done' }));
  await waitFor(() => expect(screen.queryByTestId('secret')).toBeNull());
});

it('creates a cluster from name to password', async () => {
  const { user, calls } = open('/clusters/new', {
    'GET /engines': { engines: [{ engine: 'redis', versions: [{ version: '7.0.15', hosts: ['agent-1'] }] }] },
    'GET /hosts': { hosts: [{ id: 'agent-1', name: 'rack-a', agent: 'agent-1', os: '', cores: 2, memoryBytes: '1', provider: '', location: '', lastReport: now }] },
    'POST /clusters': [202, { operationId: 'op-3', credentials: { user: 'app', password: 'sesam-77' } }],
  });
  await user.type(await screen.findByLabelText('Name'), 'cart');
  await user.click(screen.getByRole('button', { name: 'Next' }));
  await screen.findByText('Which engine?');
  await user.click(screen.getByRole('button', { name: 'Next' }));
  await user.click(await screen.findByRole('button', { name: 'One node more on rack-a' }));
  await user.click(screen.getByRole('button', { name: 'Next' }));
  await screen.findByText('How safe, how big, for whom?');
  await user.click(screen.getByRole('button', { name: 'Next' }));
  await screen.findByText('What will run');
  await user.click(screen.getByRole('button', { name: 'Create cart' }));
  await screen.findByText('sesam-77');
  expect(calls).toEqual([{ method: 'POST', path: '/clusters', body: { name: 'cart', engine: 'redis', version: '7.0.15', memoryBytes: 268_435_456, durability: 'async', allowCidrs: [], deletionProtection: true, nodes: [{ name: 'cart-1', agent: 'agent-1' }] } }]);
});

it('refuses to adopt what Sentinel watches', async () => {
  const { user } = open('/clusters/adopt', {
    'GET /hosts': { hosts: [{ id: 'agent-1', name: 'rack-a', agent: 'agent-1', os: '', cores: 2, memoryBytes: '1', provider: '', location: '', lastReport: now }] },
    'POST /clusters/adopt/preview': { nodes: [], refusals: [{ code: 'sentinel', title: 'Sentinel watches this primary', detail: '', fix: 'stop it first' }] },
  });
  await user.type(await screen.findByLabelText('Name'), 'old');
  await user.type(screen.getByLabelText('Address of the primary'), '10.0.0.5:6379');
  await user.click(screen.getByRole('button', { name: 'Look first' }));
  await screen.findByText('Sentinel watches this primary');
  expect(screen.queryByRole('button', { name: /Adopt as|Look first/ })).toBeNull();
  expect(screen.getByRole('button', { name: 'Look again' })).toBeTruthy();
});

it('says on which side of a failover the cluster stands', async () => {
  open('/clusters/shop', {
    'GET /clusters/shop': { ...redis, lease: { holder: 'shop-1', generation: '9', state: 'at-risk', expiresInMs: 900, ttlMs: 5000, mode: 'strict' }, failover: { mode: 'no-loss', suspendedUntil: null, coolDownUntil: null, blocked: 'No replica is in step.' } },
  });
  expect((await screen.findByTestId('lease')).getAttribute('data-state')).toBe('at-risk');
  await screen.findByText('No replica is in step.');
});

it('keeps the data and says how old it is when an answer fails later', async () => {
  const answers: Record<string, Answer> = { ...base, 'GET /users': { users: [{ name: 'bob', role: 'viewer', disabled: false, createdAt: at(0), lastSeen: null }] } };
  const { client } = openPage('/users', answers);
  await screen.findByText('bob');
  answers['GET /users'] = unavailable;
  void client.invalidateQueries({ queryKey: ['users'] });
  await screen.findByText(/What you see is .* old/);
  expect(screen.getAllByText('bob').length).toBeGreaterThan(0);
});

it('narrows a long list of clusters by name and by health, and says how many it shows', async () => {
  const many = Array.from({ length: 10 }, (_, i) => cluster({ id: `c-${i}`, name: `shop-${i}`, observedAt: now, ...(i === 7 && { verdict: { level: 'down' as const, sentence: 'Down: no primary answers.' } }) }));
  open('/clusters', { 'GET /clusters': { clusters: many } });
  await screen.findByText('10 clusters');
  fireEvent.click(screen.getByRole('button', { name: 'Not healthy' }));
  await screen.findByText('1 of 10 clusters');
  fireEvent.change(screen.getByLabelText(/Only clusters/), { target: { value: 'shop-1' } });
  await screen.findByText('No cluster has “shop-1” in its name, engine or primary');
});

it('says that a page failed by a fault of its own, within the frame', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  open('/users', { 'GET /users': { users: 7 } });
  await screen.findByText('This page failed by a fault of its own');
  expect(screen.getByRole('navigation', { name: 'Main' })).toBeTruthy();
  vi.restoreAllMocks();
});
