import type { Engine } from '../../api/types';

const names: Record<Engine, string> = { eventstore: 'Event store', redis: 'Redis' };

export function engineName(engine: Engine | string): string {
  return names[engine as Engine] ?? engine;
}

/** What the node that takes the writes is called. */
export function leadWord(engine: Engine | string): string {
  return engine === 'eventstore' ? 'leader' : 'primary';
}
