import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { render, screen, waitFor } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import { keys } from '../../api/keys';
import type { Plan } from '../../api/types';
import { cluster, plan } from '../../testing/fixtures';
import { PromoteDialog } from './PromoteDialog';

interface Call {
  path: string;
  body: Record<string, unknown>;
}

let calls: Call[];
let answerPlan: () => Plan;
let answerPromotion: () => [number, unknown];

beforeEach(() => {
  calls = [];
  answerPlan = plan;
  answerPromotion = () => [202, { operationId: 'op-7', dryRun: false }];
  vi.stubGlobal('fetch', async (path: string, init?: RequestInit) => {
    if (path.endsWith('/settings')) return new Response('{}', { status: 404 });
    const body = init?.body ? (JSON.parse(String(init.body)) as Record<string, unknown>) : {};
    calls.push({ path, body });
    const [status, out] = path.endsWith('/plan') ? [200, answerPlan()] : answerPromotion();
    return new Response(JSON.stringify(out), { status });
  });
});

function open({ role = 'admin', undoOf = null as string | null } = {}) {
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  client.setQueryData(keys.session, { username: 'ann', role, expiresAt: '2099-01-01T00:00:00Z' });
  const onStarted = vi.fn();
  render(
    <MantineProvider env="test">
      <QueryClientProvider client={client}>
        <PromoteDialog cluster={cluster()} node="demo-2" undoOf={undoOf} onClose={() => {}} onStarted={onStarted} />
      </QueryClientProvider>
    </MantineProvider>,
  );
  return { user: userEvent.setup(), onStarted };
}

const button = () => screen.findByTestId<HTMLButtonElement>('promote');
const sent = () => calls.filter((c) => !c.path.endsWith('/plan'));

describe('PromoteDialog', () => {
  it('keeps Promote off until the whole name is typed', async () => {
    const { user } = open();
    expect((await button()).disabled).toBe(true);
    await user.type(screen.getByTestId('typed-name'), 'demo-');
    expect((await button()).disabled).toBe(true);
    await user.type(screen.getByTestId('typed-name'), '2');
    expect((await button()).disabled).toBe(false);
    await user.type(screen.getByTestId('typed-name'), '2');
    expect((await button()).disabled).toBe(true);
    expect(screen.getAllByText('That is not demo-2.').length).toBeGreaterThan(0);
  });

  it('sends nothing on Enter while the name is wrong', async () => {
    const { user } = open();
    await button();
    await user.type(screen.getByTestId('typed-name'), 'demo-3{Enter}');
    expect(sent()).toEqual([]);
  });

  it('sends what was seen: name, hash, generation, reason', async () => {
    const { user, onStarted } = open();
    await button();
    await user.type(screen.getByRole('textbox', { name: 'Reason' }), 'kernel update');
    await user.type(screen.getByTestId('typed-name'), 'demo-2{Enter}');
    await waitFor(() => expect(onStarted).toHaveBeenCalledWith('op-7'));
    expect(sent()).toEqual([
      { path: '/api/v1/clusters/demo/promotions', body: { node: 'demo-2', typedName: 'demo-2', reportHash: 'h1', generation: '7', reason: 'kernel update' } },
    ]);
  });

  it('marks the point of no return between the steps', async () => {
    open();
    await button();
    const items = screen.getAllByRole('listitem').map((e) => e.textContent ?? '');
    const line = items.findIndex((t) => t.startsWith('Point of no return'));
    expect(items[line - 1]).toContain('Check demo-2');
    expect(items[line + 1]).toContain('Hand over');
  });

  it('has no field and no button when the checks refuse, but the repairs', async () => {
    answerPlan = () => {
      const p = plan();
      return { ...p, refused: true, report: { ...p.report, promotable: false, reason: 'it is down' }, refusals: [{ code: 'member.up', title: 'demo-2 is down', detail: 'no process', fix: 'start it' }] };
    };
    open();
    expect((await screen.findByTestId('refused')).textContent).toContain('Start it');
    expect(screen.queryByTestId('typed-name')).toBeNull();
    expect(screen.queryByTestId('promote')).toBeNull();
  });

  it('shows the fresh report when the one seen is stale, and does not promote by itself', async () => {
    answerPromotion = () => [409, { title: 'stale', status: 409, detail: '', code: 'stale-report', fix: '', retry: true }];
    const { user, onStarted } = open();
    await button();
    await user.type(screen.getByTestId('typed-name'), 'demo-2{Enter}');
    await screen.findByText('The report changed while you read it');
    await waitFor(() => expect(calls.filter((c) => c.path.endsWith('/plan')).length).toBe(2));
    expect(onStarted).not.toHaveBeenCalled();
    expect(sent()).toHaveLength(1);
  });

  it('puts the server’s word on a wrong name beside the field', async () => {
    answerPromotion = () => [422, { title: 'The typed name is wrong', status: 422, detail: 'you typed x', code: 'typed-name-mismatch', fix: '', retry: false }];
    const { user } = open();
    await button();
    await user.type(screen.getByTestId('typed-name'), 'demo-2{Enter}');
    await screen.findByText('you typed x');
  });

  it('a dry run needs no typed name and changes nothing', async () => {
    answerPromotion = () => [200, { operationId: '', dryRun: true, plan: plan() }];
    const { user, onStarted } = open();
    await user.click(await screen.findByTestId('dry-run'));
    await screen.findByText('Dry run passed. Nothing was changed.');
    expect(sent()[0]?.body).toMatchObject({ dryRun: true });
    expect(onStarted).not.toHaveBeenCalled();
  });

  it('lets viewers look only', async () => {
    open({ role: 'viewer' });
    expect((await button()).disabled).toBe(true);
    expect(screen.getByTestId<HTMLInputElement>('typed-name').disabled).toBe(true);
  });

  it('switches back through the operation it takes back', async () => {
    const { user } = open({ undoOf: 'op-3' });
    await button();
    await user.type(screen.getByTestId('typed-name'), 'demo-2{Enter}');
    await waitFor(() => expect(sent()[0]?.path).toBe('/api/v1/operations/op-3/undo'));
    expect(sent()[0]?.body).toEqual({ typedName: 'demo-2', reportHash: 'h1', generation: '7' });
  });
});
