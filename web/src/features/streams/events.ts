import type { EventText, StreamPage } from '../../api/types';

/** What an event holds, laid out for reading: JSON indented where it is whole, else as it is. */
export function laidOut(t: EventText): { text: string; note: string } {
  const cut = !t.base64 && new TextEncoder().encode(t.text).length < t.bytes;
  const note = t.base64 ? `${t.bytes} bytes that are no text, as base64` : cut ? `the first part of ${t.bytes} bytes` : '';
  if (t.base64 || cut) return { text: t.text, note };
  try {
    return { text: JSON.stringify(JSON.parse(t.text), null, 2), note };
  } catch {
    return { text: t.text, note };
  }
}

export type JsonPart = { kind: 'key' | 'string' | 'number' | 'word' | 'plain'; text: string };

/** Parts of laid out JSON, for their colors. Text that is no JSON comes out as it is. */
export function jsonParts(text: string): JsonPart[] {
  const out: JsonPart[] = [];
  const token = /("(?:[^"\\]|\\.)*")(\s*:)?|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|\b(true|false|null)\b/g;
  let at = 0;
  for (const m of text.matchAll(token)) {
    if (m.index > at) out.push({ kind: 'plain', text: text.slice(at, m.index) });
    if (m[1] !== undefined) {
      out.push({ kind: m[2] === undefined ? 'string' : 'key', text: m[1] });
      if (m[2] !== undefined) out.push({ kind: 'plain', text: m[2] });
    } else out.push({ kind: m[3] !== undefined ? 'number' : 'word', text: m[0] });
    at = m.index + m[0].length;
  }
  if (at < text.length) out.push({ kind: 'plain', text: text.slice(at) });
  return out;
}

/** Where an event stands in the stream that is read: at its link where it was resolved. */
export function standsAt(e: StreamPage['events'][number]): string {
  return e.link ? e.link.revision : e.revision;
}

/** The revision from which the next older page begins; null at the stream's beginning. */
export function olderFrom(page: StreamPage): string | null {
  const last = page.events.at(-1);
  if (last === undefined) return null;
  const revision = BigInt(standsAt(last));
  return revision > 0n ? String(revision - 1n) : null;
}

/** Why an event cannot be appended; null when it can. */
export function whyNotEvent(stream: string, type: string, data: string): string | null {
  if (stream.trim() === '') return 'Name the stream.';
  if (stream.startsWith('$')) return 'Streams whose names begin with $ are written by the event store.';
  if (type.trim() === '') return 'Give the event a type.';
  try {
    JSON.parse(data);
    return null;
  } catch {
    return 'The data is not JSON yet.';
  }
}
