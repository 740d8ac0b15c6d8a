import { describe, expect, it } from 'vitest';
import { retryDelayMs } from './events';
import { SseParser } from './sse';

describe('SseParser', () => {
  const stream = ': hello\n\nid: 7\nevent: clusters\ndata: [1,\ndata: 2]\n\ndata:plain\r\n\r\nevent: empty\n\n';

  it('cuts a stream into events, whatever the chunks', () => {
    const whole = new SseParser().push(stream);
    expect(whole).toEqual([
      { event: 'clusters', data: '[1,\n2]', id: '7' },
      { event: 'message', data: 'plain', id: '7' },
    ]);
    for (let size = 1; size < 9; size++) {
      const parser = new SseParser();
      const pieces: unknown[] = [];
      for (let i = 0; i < stream.length; i += size) pieces.push(...parser.push(stream.slice(i, i + size)));
      expect(pieces, `chunks of ${size}`).toEqual(whole);
    }
  });

  it('holds an event back until its blank line', () => {
    const parser = new SseParser();
    expect(parser.push('event: operation\ndata: {}\n')).toEqual([]);
    expect(parser.push('\n')).toHaveLength(1);
  });
});

it('retries wait longer each time, up to a bound, never at once', () => {
  const waits = [0, 1, 2, 3, 4, 10].map((n) => retryDelayMs(n, 1));
  expect(waits).toEqual([400, 800, 1600, 3200, 5000, 5000]);
  expect(retryDelayMs(0, 0)).toBe(200);
});
