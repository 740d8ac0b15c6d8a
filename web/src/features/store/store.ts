import { bytes, count, group, toNumber } from '../../lib/format';
import type { Tone } from '../../lib/severity';
import type { Projection, Subscription, SubscriptionSettings } from './types';

/** The name under which subscriptions to all streams go. */
export const allStreams = '$all';

/** A stream as a person reads it. */
export function streamName(stream: string): string {
  return stream === allStreams ? 'all streams' : stream;
}

/** How far a subscription is behind, with its unit; unknown is said as unknown. */
export function behind(s: Pick<Subscription, 'lagEvents' | 'lagBytes'>): string {
  if (s.lagEvents !== null) return s.lagEvents === '0' ? 'Nothing' : `${group(s.lagEvents)} ${s.lagEvents === '1' ? 'event' : 'events'}`;
  if (s.lagBytes !== null) return `${bytes(s.lagBytes)} of log`;
  return 'Not known';
}

/** What the state of a subscription comes to: word and tone. Nobody listening to a subscription that is behind is worth a look. */
export function subscriptionState(s: Subscription): { tone: Tone; word: string } {
  if (s.state === 'faulted') return { tone: 'bad', word: 'Faulted' };
  const waiting = s.lagEvents === null ? toNumber(s.lagBytes) !== 0 : s.lagEvents !== '0';
  if (s.consumers === 0 && waiting) return { tone: 'warn', word: 'No consumer' };
  if (s.replaying) return { tone: 'ok', word: 'Replaying' };
  if (s.state === 'behind') return { tone: 'warn', word: 'Behind' };
  return s.consumers === 0 ? { tone: 'unknown', word: 'Idle' } : { tone: 'ok', word: 'Live' };
}

/** One sentence over all of them. */
export function subscriptionsSentence(list: readonly Subscription[]): string {
  const late = list.filter((s) => subscriptionState(s).tone !== 'ok' && subscriptionState(s).tone !== 'unknown').length;
  const parked = list.reduce((n, s) => n + BigInt(s.parked), 0n);
  return [count(list.length, 'subscription'), late === 0 ? 'each keeps up' : `${late} ${late === 1 ? 'needs' : 'need'} a look`, parked === 0n ? 'nothing is parked' : `${group(String(parked))} ${parked === 1n ? 'event is' : 'events are'} parked`].join(', ') + '.';
}

/** What clients begin with; the server has the same. */
export const usualSettings: SubscriptionSettings = {
  strategy: 'RoundRobin', resolveLinks: false, extraStatistics: false, messageTimeoutMs: 30_000, maxRetries: 10, checkpointAfterMs: 2000, minCheckpoint: 10, maxCheckpoint: 1000, maxSubscribers: 0, liveBuffer: 500, historyBuffer: 500, readBatch: 20,
};

export const strategies: readonly { value: SubscriptionSettings['strategy']; title: string; consequence: string }[] = [
  { value: 'RoundRobin', title: 'Round robin', consequence: 'Each event goes to the next consumer that has room.' },
  { value: 'DispatchToSingle', title: 'One consumer', consequence: 'Events go to one consumer until it is full or gone.' },
  { value: 'Pinned', title: 'Pinned by stream', consequence: 'Events of a stream go to the same consumer where possible.' },
  { value: 'PinnedByCorrelation', title: 'Pinned by correlation', consequence: 'Events of one $correlationId go to the same consumer where possible.' },
];

/** Numbers a person may change, null while a field holds none. */
export type Draft = { [K in keyof SubscriptionSettings]: SubscriptionSettings[K] extends number ? number | null : SubscriptionSettings[K] };

/** What is wrong with settings; null when nothing is. The server checks again. */
export function whyNotSettings(d: Draft): string | null {
  if (Object.values(d).includes(null)) return 'Fill in every number.';
  const s = d as SubscriptionSettings;
  if (Object.values(s).some((v) => typeof v === 'number' && (v < 0 || !Number.isInteger(v)))) return 'Numbers are whole and not negative.';
  if (s.historyBuffer <= s.readBatch) return 'The history buffer must hold more events than are read at once.';
  if (s.liveBuffer < 1 || s.readBatch < 1 || s.maxCheckpoint < 1) return 'Buffers, reads and checkpoints hold one event at least.';
  if (s.maxCheckpoint < s.minCheckpoint) return 'The most events between checkpoints must not be below the least.';
  return null;
}

/** What is wrong with a new subscription; null when nothing is. */
export function whyNotSubscription(stream: string, name: string, from: string): string | null {
  if (stream === '') return 'Name the stream.';
  if (name.trim() === '') return 'Name the subscription.';
  if (from === 'start' || from === 'end') return null;
  if (stream === allStreams) return /^C:\d{1,19}\/P:\d{1,19}$/.test(from) ? null : 'A position looks like C:1024/P:1024.';
  return /^\d{1,19}$/.test(from) ? null : 'A revision is a whole number from 0.';
}

export function projectionTone(p: Pick<Projection, 'state'>): Tone {
  return ({ running: 'ok', completed: 'ok', stopped: 'unknown', changing: 'warn', faulted: 'bad' } as const)[p.state] ?? 'unknown';
}

/** A projection's progress; null when it is not known. */
export function progressText(progress: number | null): string {
  if (progress === null) return 'Not known';
  return `${progress >= 99.95 ? '100' : progress.toFixed(1)} %`;
}

/** Sources to begin a projection from. */
export const templates: readonly { value: string; title: string; consequence: string; emit: boolean; query: string }[] = [
  {
    value: 'count', title: 'Count by type', consequence: 'One state over all streams.', emit: false,
    query: `fromAll()
  .when({
    $init: () => ({}),
    $any: (state, event) => {
      state[event.eventType] = (state[event.eventType] || 0) + 1;
      return state;
    },
  })
  .outputState();
`,
  },
  {
    value: 'partition', title: 'A state for each stream', consequence: 'Of one category; each stream has its own.', emit: false,
    query: `fromCategory('order')
  .foreachStream()
  .when({
    $init: () => ({ events: 0, last: null }),
    $any: (state, event) => {
      state.events += 1;
      state.last = event.eventType;
      return state;
    },
  })
  .outputState();
`,
  },
  {
    value: 'link', title: 'Links to another stream', consequence: 'Writes: what it links stays when it is stopped.', emit: true,
    query: `fromAll()
  .when({
    $any: (state, event) => {
      if (event.streamId && !event.streamId.startsWith('$')) linkTo('everything', event);
      return state;
    },
  });
`,
  },
];

/** What is wrong with a projection; null when nothing is. */
export function whyNotProjection(name: string, query: string): string | null {
  if (name.trim() === '') return 'Name the projection.';
  if (name.startsWith('$')) return 'Names that begin with $ are the event store’s own.';
  if (query.trim() === '') return 'It needs a source.';
  return null;
}

/** Groups from what a person typed: words between commas or spaces, each once. */
export function groupsOf(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter((g) => g !== ''))];
}
