import { useSyncExternalStore } from 'react';
import { ageMs, isStale } from './format';

// Ages are differences between the server's stamps and now. A browser whose
// clock is off would show wrong ages, so the offset is learned from the Date
// header of answers. That header has whole seconds, hence the allowance.
const allowanceMs = 2000;

let offsetMs = 0;

/** Learns how far this browser's clock is from the server's. */
export function learnServerTime(dateHeader: string | null, nowMs = Date.now()): void {
  if (!dateHeader) return;
  const server = Date.parse(dateHeader);
  if (Number.isNaN(server)) return;
  const difference = server - nowMs;
  offsetMs = Math.abs(difference) > allowanceMs ? difference : 0;
}

/** Now on the server's clock, in milliseconds since 1970. */
export function serverNow(): number {
  return Date.now() + offsetMs;
}

/** One ticker for every age on the page; it runs only while something listens. */
const tickMs = 500;
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let ticked = serverNow();

function listen(changed: () => void): () => void {
  listeners.add(changed);
  if (timer === undefined) {
    ticked = serverNow();
    timer = setInterval(() => {
      ticked = serverNow();
      for (const l of listeners) l();
    }, tickMs);
  }
  return () => {
    listeners.delete(changed);
    if (listeners.size === 0 && timer !== undefined) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** Whether an observation is older than three seconds; re-renders its users only when that changes. */
export function useStale(at: string | null | undefined): boolean {
  return useSyncExternalStore(listen, () => isStale(ageMs(at, ticked)));
}

/** Server time that moves on by itself, twice a second. */
export function useNow(): number {
  return useSyncExternalStore(listen, () => ticked);
}
