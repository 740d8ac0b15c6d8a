import { MantineProvider } from '@mantine/core';
import { MutationCache, QueryCache, QueryClient, QueryClientProvider } from '@tanstack/react-query';
import { RouterProvider } from '@tanstack/react-router';
import { useState } from 'react';
import { troubleFrom } from '../api/errors';
import { EventFeed } from '../api/events';
import { FeedContext } from '../api/feed';
import { keys } from '../api/keys';
import { makeRouter } from './router';
import { resolver, schemeManager, theme } from './theme';

/** Requests that failed for want of an answer are tried this often before the page says so. */
const maxRetries = 2;

function makeClient(): QueryClient {
  const signedOut = (error: Error) => {
    if (troubleFrom(error).status === 401) client.setQueryData(keys.session, null);
  };
  const client: QueryClient = new QueryClient({
    queryCache: new QueryCache({ onError: signedOut }),
    mutationCache: new MutationCache({ onError: signedOut }),
    defaultOptions: {
      queries: {
        retry: (failures, error) => failures < maxRetries && troubleFrom(error).retry,
        refetchOnWindowFocus: true,
        staleTime: 1000,
      },
      mutations: { retry: false },
    },
  });
  return client;
}

export function App() {
  const [{ client, feed, router }] = useState(() => {
    const c = makeClient();
    return { client: c, feed: new EventFeed(c), router: makeRouter() };
  });
  return (
    <MantineProvider theme={theme} cssVariablesResolver={resolver} colorSchemeManager={schemeManager} defaultColorScheme="auto">
      <QueryClientProvider client={client}>
        <FeedContext value={feed}>
          <RouterProvider router={router} />
        </FeedContext>
      </QueryClientProvider>
    </MantineProvider>
  );
}
