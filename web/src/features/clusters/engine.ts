import type { Engine } from '../../api/types';

const names: Record<string, string> = { eventstore: 'Event store', redis: 'Redis', valkey: 'Valkey' };

export function engineName(engine: Engine | string): string {
  return names[engine] ?? engine;
}

/** What the node that takes the writes is called. */
export function leadWord(engine: Engine | string): string {
  return engine === 'eventstore' ? 'leader' : 'primary';
}
