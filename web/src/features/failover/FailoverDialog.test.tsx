import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { createMemoryHistory, createRootRoute, createRouter, RouterProvider } from '@tanstack/react-router';
import { render, screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClusterDetail } from '../../api/types';
import { cluster, node } from '../../testing/fixtures';
import { FailoverDialog } from './FailoverDialog';

let sent: { path: string; body: unknown }[];

beforeEach(() => {
  sent = [];
  vi.stubGlobal('fetch', async (path: string, init?: RequestInit) => {
    if (init?.method === 'POST') sent.push({ path, body: JSON.parse(String(init.body)) });
    return new Response(JSON.stringify({ operationId: 'op-9' }), { status: init?.method === 'POST' ? 202 : 404 });
  });
});

async function open(mode: string) {
  const c: ClusterDetail = cluster({
    id: 'c-1',
    name: 'cache',
    engine: 'redis',
    primary: null,
    nodes: [node({ name: 'r-1', role: 'unknown', shouldBe: 'primary' }), node({ name: 'r-2', role: 'replica', shouldBe: 'replica' }), node({ name: 'r-3', role: 'replica', shouldBe: 'replica' })],
    failover: { mode } as unknown as ClusterDetail['failover'],
  });
  const page = createRootRoute({ component: () => <FailoverDialog cluster={c} wanted="r-2" onClose={() => {}} /> });
  const router = createRouter({ routeTree: page, history: createMemoryHistory() });
  render(
    <MantineProvider env="test">
      <QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}>
        <RouterProvider router={router as never} />
      </QueryClientProvider>
    </MantineProvider>,
  );
  await screen.findByTestId('action-dialog');
  return { user: userEvent.setup(), went: () => router.state.location.searchStr };
}

const act = () => screen.getByTestId<HTMLButtonElement>('act');
const loss = () => screen.getByRole('checkbox', { name: /acknowledged writes may be lost/ });
const saysOff = () => screen.queryByRole('checkbox', { name: /switched the machine of r-1 off/ });

describe('FailoverDialog', () => {
  it('without leases takes the word that the old primary is off, by its name, and only after loss is accepted', async () => {
    const { user, went } = await open('off');
    expect(saysOff()).toBeNull();
    await user.click(loss());
    await user.type(screen.getByRole('textbox', { name: /^Reason/ }), 'its power supply burnt');
    await user.type(screen.getByTestId('typed-name'), 'r-2');
    expect(act().disabled).toBe(false);
    const word = saysOff();
    if (!word) throw new Error('the mark is missing');
    await user.click(word);
    expect(act().disabled).toBe(true);
    await user.type(screen.getByTestId('old-primary-is-off'), 'r-2');
    expect(act().disabled).toBe(true);
    screen.getByText('That is not r-1.');
    await user.type(screen.getByTestId('typed-name'), '{Enter}');
    expect(sent).toEqual([]);
    await user.clear(screen.getByTestId('old-primary-is-off'));
    await user.type(screen.getByTestId('old-primary-is-off'), 'r-1');
    expect(screen.getByTestId('action-dialog').textContent).toContain('--old-primary-is-off r-1');
    await user.click(act());
    await waitFor(() => expect(went()).toBe('?op=op-9'));
    expect(sent).toEqual([
      { path: '/api/v1/clusters/c-1/failover', body: { node: 'r-2', typedName: 'r-2', acceptLoss: true, oldPrimaryIsOff: 'r-1', reason: 'its power supply burnt' } },
    ]);
  });

  it('does not send the word once the mark is taken back', async () => {
    const { user } = await open('off');
    await user.click(loss());
    const word = saysOff();
    if (!word) throw new Error('the mark is missing');
    await user.click(word);
    await user.type(screen.getByTestId('old-primary-is-off'), 'r-1');
    await user.click(word);
    await user.type(screen.getByRole('textbox', { name: /^Reason/ }), 'x');
    await user.type(screen.getByTestId('typed-name'), 'r-2{Enter}');
    await waitFor(() => expect(sent).toHaveLength(1));
    expect(sent[0]?.body).toEqual({ node: 'r-2', typedName: 'r-2', acceptLoss: true, reason: 'x' });
  });

  it('with leases asks for no such word', async () => {
    const { user } = await open('automatic');
    await user.click(loss());
    expect(saysOff()).toBeNull();
  });
});
