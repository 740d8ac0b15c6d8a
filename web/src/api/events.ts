import type { InfiniteData, QueryClient } from '@tanstack/react-query';
import { useSyncExternalStore } from 'react';
import { apiRoot } from './client';
import { keys } from './keys';
import { isOver, mergeAudit, mergeOperation } from './merge';
import { SseParser, type SseMessage } from './sse';
import type { AuditPage, AuditRow, ClusterDetail, ClusterSummary, Operation } from './types';
import { learnServerTime } from '../lib/clock';

/** connecting: first try; live: events flow; reconnecting: lost and being tried again; signed-out: the session ended. */
export type FeedState = 'connecting' | 'live' | 'reconnecting' | 'signed-out';

export interface FeedStatus {
  state: FeedState;
  /** When the last byte arrived, heartbeats included; milliseconds on the browser's clock, 0 for never. */
  lastHeardAt: number;
}

/** The server sends a heartbeat every 5 s; more silence than two of them means the link is dead though nobody said so. */
const silenceMs = 11_000;
const firstRetryMs = 400;
const lastRetryMs = 5_000;

/** The wait before try n (from 0): doubles up to a bound, spread so that many pages do not return at once. */
export function retryDelayMs(n: number, random: number): number {
  const full = Math.min(lastRetryMs, firstRetryMs * 2 ** n);
  return full * (0.5 + random / 2);
}

/** EventFeed keeps one event stream open and writes what arrives into the query caches. */
export class EventFeed {
  private status: FeedStatus = { state: 'connecting', lastHeardAt: 0 };
  private readonly listeners = new Set<() => void>();
  private cluster: string | null = null;
  private running: AbortController | null = null;
  private lastEventId: string | null = null;
  private users = 0;

  constructor(private readonly client: QueryClient) {}

  /** Opens the stream for as long as at least one user holds it. */
  hold(): () => void {
    if (this.users++ === 0) this.open();
    return () => {
      if (--this.users === 0) this.close();
    };
  }

  /** Asks for the details of one cluster as well. */
  watch(cluster: string | null): void {
    if (cluster === this.cluster) return;
    this.cluster = cluster;
    if (this.running) {
      this.close();
      this.open();
    }
  }

  readonly getStatus = (): FeedStatus => this.status;

  readonly subscribe = (changed: () => void): (() => void) => {
    this.listeners.add(changed);
    return () => this.listeners.delete(changed);
  };

  private open(): void {
    const stop = new AbortController();
    this.running = stop;
    void this.keepOpen(stop.signal);
  }

  private close(): void {
    this.running?.abort();
    this.running = null;
  }

  private async keepOpen(stop: AbortSignal): Promise<void> {
    let tries = 0;
    while (!stop.aborted) {
      const outcome = await this.once(stop, () => (tries = 0));
      if (stop.aborted) return;
      if (outcome === 'signed-out') {
        this.set('signed-out');
        this.client.setQueryData(keys.session, null);
        return;
      }
      this.set('reconnecting');
      await wait(retryDelayMs(tries++, Math.random()), stop);
    }
  }

  private async once(stop: AbortSignal, opened: () => void): Promise<'ended' | 'signed-out'> {
    const attempt = new AbortController();
    const abort = () => attempt.abort();
    stop.addEventListener('abort', abort);
    let silence = setTimeout(abort, silenceMs);
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(abort, silenceMs);
    };
    try {
      const query = this.cluster === null ? '' : `?cluster=${encodeURIComponent(this.cluster)}`;
      const headers: Record<string, string> = { Accept: 'text/event-stream' };
      if (this.lastEventId !== null) headers['Last-Event-ID'] = this.lastEventId;
      const answer = await fetch(`${apiRoot}/events${query}`, {
        headers,
        credentials: 'same-origin',
        cache: 'no-store',
        signal: attempt.signal,
      });
      if (answer.status === 401) return 'signed-out';
      if (!answer.ok || answer.body === null) return 'ended';
      learnServerTime(answer.headers.get('Date'));
      const again = this.status.state === 'reconnecting';
      this.set('live');
      opened();
      // What was missed while away is fetched once; from here on events tell.
      if (again) void this.client.invalidateQueries();
      const parser = new SseParser();
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return 'ended';
        heard();
        this.set('live');
        for (const message of parser.push(value)) this.take(message);
      }
    } catch {
      return 'ended';
    } finally {
      clearTimeout(silence);
      stop.removeEventListener('abort', abort);
      attempt.abort();
    }
  }

  private take(message: SseMessage): void {
    if (message.id) this.lastEventId = message.id;
    let body: unknown;
    try {
      body = JSON.parse(message.data);
    } catch {
      return; // A cut or foreign event: the next one of its kind replaces it.
    }
    applyEvent(this.client, message.event, body);
  }

  private set(state: FeedState): void {
    this.status = { state, lastHeardAt: state === 'live' ? Date.now() : this.status.lastHeardAt };
    for (const l of this.listeners) l();
  }
}

/** Writes one event into the caches that pages read. Unknown kinds are ignored: a newer server may send more. */
export function applyEvent(client: QueryClient, kind: string, body: unknown): void {
  switch (kind) {
    case 'clusters': {
      const list = Array.isArray(body) ? body : (body as { clusters?: ClusterSummary[] | null }).clusters;
      client.setQueryData<ClusterSummary[]>(keys.clusters, list ?? []);
      break;
    }
    case 'cluster': {
      const detail = body as ClusterDetail;
      client.setQueryData(keys.cluster(detail.id), detail);
      // Links may use the name.
      if (detail.name !== detail.id) client.setQueryData(keys.cluster(detail.name), detail);
      break;
    }
    case 'operation': {
      const op = body as Operation;
      client.setQueryData<Operation>(keys.operation(op.id), (old) => mergeOperation(old, op));
      // Lists say so at once, not with their next event.
      if (isOver(op.state)) client.setQueryData<ClusterSummary[]>(keys.clusters, (all) => all?.map((c) => (c.runningOperation === op.id ? { ...c, runningOperation: null } : c)));
      break;
    }
    case 'audit': {
      const row = body as AuditRow;
      client.setQueryData<InfiniteData<AuditPage, string>>(keys.audit(row.cluster), (old) => mergeAudit(old, row));
      break;
    }
  }
}

function wait(ms: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stop.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    stop.addEventListener('abort', done);
  });
}

/** Where the feed stands; re-renders its users only when the state changes. */
export function useFeedState(feed: EventFeed): FeedState {
  return useSyncExternalStore(feed.subscribe, () => feed.getStatus().state);
}
