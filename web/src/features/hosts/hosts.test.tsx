// Goal: machines of providers are asked for, watched and deleted on the page,
// and an installation over SSH begins only after the machine's key was
// confirmed. Method: the page with answers by route.

import { screen, waitFor, within } from '@testing-library/react';
import { expect, it } from 'vitest';
import { openPage, type Answer } from '../../testing/page';

const now = new Date().toISOString();
const session = { username: 'ann', role: 'admin', expiresAt: '2099-01-01T00:00:00Z' };
const account = { name: 'main', kind: 'hetzner', endpoint: '', by: 'ann', at: now };
const options = { locations: [{ name: 'fsn1', title: 'Falkenstein', country: 'DE' }], sizes: [{ name: 'cx22', title: 'CX22', arch: 'x86', cores: 2, memoryBytes: '4294967296', diskBytes: '42949672960', monthlyPrice: 'EUR 4.51' }] };
const base: Record<string, Answer> = {
  'GET /session': session, 'GET /clusters': { clusters: [] }, 'GET /alerts': { alerts: [] }, 'GET /approvals': { approvals: [] }, 'GET /hosts': { hosts: [] },
  'GET /provider-accounts': { accounts: [account] }, 'GET /provider-accounts/main/options': options, 'GET /machines': { machines: [] },
};
const open = (answers: Record<string, Answer> = {}) => openPage('/hosts', { ...base, ...answers });

it('asks for several machines, one request each, and stops at the first that is refused', async () => {
  const { user, calls } = open({ 'POST /hosts/create': [409, { title: 'The name is taken', status: 409, code: 'exists', detail: '', fix: 'choose another name' }] });
  await user.click(await screen.findByRole('button', { name: 'New machine' }));
  const dialog = await screen.findByTestId('action-dialog');
  await within(dialog).findByRole('option', { name: /CX22: 2 cores, 4 GiB.*EUR 4.51 a month/ });
  await user.type(within(dialog).getByLabelText('Name'), 'db');
  await user.clear(within(dialog).getByLabelText('How many'));
  await user.type(within(dialog).getByLabelText('How many'), '2');
  await user.click(within(dialog).getByTestId('act'));
  await within(dialog).findByText('The name is taken');
  expect(calls).toEqual([{ method: 'POST', path: '/hosts/create', body: { account: 'main', name: 'db-1', location: 'fsn1', size: 'cx22' } }]);
});

it('shows how far a machine is and why one failed, and hides deleted ones', async () => {
  const m = { id: 'm1', account: 'main', name: 'db-1', location: 'fsn1', size: 'cx22', state: 'making', why: '', providerId: '4711', address: '203.0.113.1', agent: '', by: 'ann', at: now, endedAt: null, steps: [{ step: 'boot', detail: 'machine 4711', at: now }] };
  open({ 'GET /machines': { machines: [m, { ...m, id: 'm2', name: 'db-2', state: 'failed', why: 'the quota is used up' }, { ...m, id: 'm3', name: 'db-3', state: 'deleted' }] } });
  const row = await screen.findByTestId('machine-db-1');
  expect(within(row).getByLabelText('1 of 3 steps are over')).toBeTruthy();
  expect(within(row).queryByRole('button', { name: /Delete/ })).toBeNull();
  expect(within(screen.getByTestId('machine-db-2')).getByText('the quota is used up')).toBeTruthy();
  expect(screen.queryByTestId('machine-db-3')).toBeNull();
});

it('offers a viewer nothing of it', async () => {
  open({ 'GET /session': { ...session, role: 'viewer' } });
  await screen.findByText(/No host has joined yet/);
  expect(screen.queryByText('Machines from a provider')).toBeNull();
});

it('installs over SSH with the key that was shown and confirmed', async () => {
  const shown = 'SHA256:abc';
  const { user, calls } = open({ 'POST /hosts/ssh': [409, { title: 'Confirm', status: 409, code: 'confirm-host-key', detail: '', hostKey: shown }] });
  await user.click((await screen.findAllByRole('button', { name: 'Install over SSH' }))[0]!);
  const dialog = await screen.findByTestId('action-dialog');
  await user.type(within(dialog).getByLabelText('Address'), '10.0.0.7');
  await user.type(within(dialog).getByRole('textbox', { name: 'Private key' }), 'pem');
  await user.click(within(dialog).getByTestId('act'));
  expect((await within(dialog).findByTestId('host-key')).textContent).toBe(shown);
  const act = within(dialog).getByTestId<HTMLButtonElement>('act');
  expect(act.disabled).toBe(true);
  await user.click(within(dialog).getByLabelText('It is the same key'));
  await user.click(act);
  await waitFor(() => expect(calls).toHaveLength(2));
  expect(calls.map((c) => (c.body as { hostKey?: string }).hostKey)).toEqual([undefined, shown]);
});
