import { createContext, useContext, useEffect } from 'react';
import { useFeedState, type EventFeed, type FeedState } from './events';

export const FeedContext = createContext<EventFeed | null>(null);

export function useFeed(): EventFeed {
  const feed = useContext(FeedContext);
  if (feed === null) throw new Error('useFeed outside of FeedContext');
  return feed;
}

/** Where the event stream stands. */
export function useLive(): FeedState {
  return useFeedState(useFeed());
}

/** Asks the stream for one cluster's details while the caller is on the page. */
export function useWatch(cluster: string | null): void {
  const feed = useFeed();
  useEffect(() => {
    feed.watch(cluster);
    return () => feed.watch(null);
  }, [feed, cluster]);
}

/** Without the stream, pages ask by themselves this often. */
const pollMs = 2000;

/** The interval at which a query asks by itself: never while events flow. */
export function usePollInterval(): number | false {
  return useLive() === 'live' ? false : pollMs;
}
