import { MantineProvider } from '@mantine/core';
import { QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { createMemoryHistory, RouterProvider } from '@tanstack/react-router';
import { render } from '@testing-library/react';
import userEvent from '@testing-library/user-event';
import { vi } from 'vitest';
import { EventFeed } from '../api/events';
import { FeedContext } from '../api/feed';
import { makeRouter } from '../app/router';

export interface Call {
  method: string;
  path: string;
  body: unknown;
}

/** An answer: the body of a 200, or [status, body], or "never". */
export type Answer = object | [number, unknown] | 'never';

/**
 * Opens an address of the dashboard with these answers, by "GET /alerts".
 * What is not named is answered 404; the event stream stays silent. Requests
 * that change something are kept in calls.
 */
export function openPage(address: string, answers: Record<string, Answer>) {
  const calls: Call[] = [];
  vi.stubGlobal('fetch', async (url: string, init?: RequestInit): Promise<Response> => {
    const path = url.replace('/api/v1', '').replace(/\?.*$/, '');
    const method = init?.method ?? 'GET';
    if (path === '/events') return new Promise(() => {});
    if (method !== 'GET') calls.push({ method, path, body: init?.body ? JSON.parse(String(init.body)) : undefined });
    const answer = answers[`${method} ${path}`] ?? [404, { title: 'Not found', status: 404, code: 'not-found' }];
    if (answer === 'never') return new Promise(() => {});
    const [status, body] = Array.isArray(answer) ? answer : [200, answer];
    return new Response(status === 204 ? null : JSON.stringify(body), { status });
  });
  const client = new QueryClient({ defaultOptions: { queries: { retry: false } } });
  const router = makeRouter(createMemoryHistory({ initialEntries: [address] }));
  render(
    <MantineProvider env="test">
      <QueryClientProvider client={client}>
        <FeedContext value={new EventFeed(client)}>
          <RouterProvider router={router} />
        </FeedContext>
      </QueryClientProvider>
    </MantineProvider>,
  );
  return { calls, router, client, user: userEvent.setup({ delay: null }) };
}
