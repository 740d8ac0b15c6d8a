// Pure formatters. Every one of them accepts what the API may send, null
// included, and answers "–" for what is not known: a missing value must never
// look like zero.

export const unknown = '–';

type Numeric = string | number | null | undefined;

/** A 64-bit integer sent as a string, as a number; null when absent or not a number. */
export function toNumber(v: Numeric): number | null {
  if (v === null || v === undefined || v === '') return null;
  const n = typeof v === 'number' ? v : Number(v);
  return Number.isFinite(n) ? n : null;
}

const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes with a binary unit and at most three significant digits: 0 B, 1.5 KiB, 64 MiB. */
export function bytes(v: Numeric): string {
  const n = toNumber(v);
  if (n === null || n < 0) return unknown;
  let unit = 0;
  let size = n;
  while (size >= 1024 && unit < byteUnits.length - 1) {
    size /= 1024;
    unit++;
  }
  return `${unit === 0 ? String(size) : short(size)} ${byteUnits[unit]}`;
}

/** At most three significant digits, no trailing zeros. */
function short(n: number): string {
  const digits = n >= 100 ? 0 : n >= 10 ? 1 : 2;
  return String(Number(n.toFixed(digits)));
}

/** A rate: 0, 0.4, 12, 1.3 k. */
export function rate(v: Numeric): string {
  const n = toNumber(v);
  if (n === null) return unknown;
  if (n >= 1_000_000) return `${short(n / 1_000_000)} M`;
  if (n >= 10_000) return `${short(n / 1000)} k`;
  if (n >= 10 || n === 0) return group(String(Math.round(n)));
  return short(n);
}

/** A whole number with thin groups of three, exact at any size: 12 345 678 901. */
export function group(v: Numeric): string {
  if (v === null || v === undefined || v === '') return unknown;
  return String(v).replace(/\B(?=(\d{3})+(?!\d))/g, '\u2009');
}

/** A span of milliseconds, for stalls: 0.8 ms, 12 ms, 1.2 s, 2 min 5 s, 26 h 3 min. */
export function milliseconds(v: Numeric): string {
  const n = toNumber(v);
  if (n === null) return unknown;
  if (n < 1) return n === 0 ? '0 ms' : `${short(n)} ms`;
  if (n < 10) return `${Number(n.toFixed(1))} ms`;
  if (n < 1000) return `${Math.round(n)} ms`;
  if (n < 60_000) return `${Number((n / 1000).toFixed(n < 10_000 ? 2 : 1))} s`;
  const s = Math.round(n / 1000);
  if (s >= 3600) return `${group(Math.floor(s / 3600))} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 60)} min ${s % 60} s`;
}

/** Seconds of lag. Below a millisecond counts as none. */
export function lagSeconds(v: Numeric): string {
  const n = toNumber(v);
  if (n === null) return unknown;
  return milliseconds(n < 0.001 ? 0 : n * 1000);
}

/** Age in milliseconds since an instant; null when there is none. Never negative. */
export function ageMs(at: string | null | undefined, now: number): number | null {
  if (!at) return null;
  const t = Date.parse(at);
  // The zero time of the server's language means "never".
  if (Number.isNaN(t) || t <= 0) return null;
  return Math.max(0, now - t);
}

/** An age in one unit: now, 4 s, 3 min, 5 h, 12 d. */
export function age(ms: number | null): string {
  if (ms === null) return 'never';
  if (ms < 1000) return 'now';
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m} min`;
  const h = Math.floor(m / 60);
  if (h < 48) return `${h} h`;
  return `${Math.floor(h / 24)} d`;
}

/** An age as part of a sentence: just now, 4 s ago, never. */
export function ago(ms: number | null): string {
  if (ms === null) return 'never';
  return ms < 1000 ? 'just now' : `${age(ms)} ago`;
}

/** Values older than this are shown in grey with their age. */
export const staleAfterMs = 3000;

export function isStale(ms: number | null): boolean {
  return ms === null || ms > staleAfterMs;
}

/** Local date and time to the second, sortable by eye: 2026-03-01 09:05:07. */
export function dateTime(at: string | null | undefined): string {
  if (!at) return unknown;
  const d = new Date(at);
  if (Number.isNaN(d.getTime()) || d.getTime() <= 0) return unknown;
  const two = (n: number) => String(n).padStart(2, '0');
  return `${d.getFullYear()}-${two(d.getMonth() + 1)}-${two(d.getDate())} ${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}`;
}

/** First letter in upper case, the rest untouched; a name such as demo-2 at the front stays as it is. */
export function sentenceCase(s: string): string {
  return s === '' || /^\S*\d/.test(s) ? s : s[0]!.toUpperCase() + s.slice(1);
}

/** "1 node", "2 nodes". */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}
