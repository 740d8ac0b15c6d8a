import { expect, it } from 'vitest';
import { jsonParts, laidOut, olderFrom, whyNotEvent } from './events';

const text = (t: string, bytes = t.length) => ({ text: t, base64: false, bytes });
const page = (...revisions: string[]) => ({
  stream: 's', exists: true, metadata: null,
  events: revisions.map((revision) => ({ stream: 's', revision, id: '', type: 't', at: '', json: true, data: text('{}'), metadata: text(''), link: null })),
});

it('lays whole JSON out, and leaves what is cut or no JSON as it is', () => {
  expect(laidOut(text('{"a":1}')).text).toBe('{\n  "a": 1\n}');
  expect(laidOut(text('plain'))).toEqual({ text: 'plain', note: '' });
  expect(laidOut(text('{"a":', 90))).toEqual({ text: '{"a":', note: 'the first part of 90 bytes' });
  expect(laidOut({ text: 'AAE=', base64: true, bytes: 2 }).note).toMatch(/no text/);
});

it('tells keys from strings, and loses nothing', () => {
  const json = '{\n  "a \\" b": ["x: 1", -2.5e3, true, null]\n}';
  const parts = jsonParts(json);
  expect(parts.map((p) => p.text).join('')).toBe(json);
  expect(parts.filter((p) => p.kind === 'key').map((p) => p.text)).toEqual(['"a \\" b"']);
  expect(parts.filter((p) => p.kind === 'string').map((p) => p.text)).toEqual(['"x: 1"']);
});

it('reads on below the last event, beyond what a number holds, and ends at the beginning', () => {
  expect(olderFrom(page('9007199254740995', '9007199254740993'))).toBe('9007199254740992');
  expect(olderFrom(page('1', '0'))).toBeNull();
  expect(olderFrom(page())).toBeNull();
  const linked = page('7');
  linked.events[0] = { ...linked.events[0]!, link: { stream: 's', revision: '3' } as never };
  expect(olderFrom(linked)).toBe('2');
});

it('appends only JSON to streams of one’s own', () => {
  expect(whyNotEvent('s', 't', '{"a": 1}')).toBeNull();
  for (const [s, t, d] of [['', 't', '{}'], ['$x', 't', '{}'], ['s', ' ', '{}'], ['s', 't', '{']] as const) expect(whyNotEvent(s, t, d)).not.toBeNull();
});
