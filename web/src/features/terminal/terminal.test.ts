import { afterEach, describe, expect, it, vi } from 'vitest';
import { pieces, TerminalLink } from './link';
import { socketAddress } from './queries';
import { between, parseRecording } from './replay';

describe('what is typed', () => {
  it('is cut between characters and loses nothing', () => {
    const text = 'aä€😀'.repeat(50);
    const cut = pieces(text, 7);
    expect(cut.every((p) => p.length <= 7)).toBe(true);
    expect(cut.map((p) => new TextDecoder('utf-8', { fatal: true }).decode(p)).join('')).toBe(text);
    expect(pieces('')).toEqual([]);
  });
});

describe('a connection', () => {
  afterEach(() => vi.unstubAllGlobals());
  it('keeps what is typed before it is open, in order', () => {
    const sent: string[] = [];
    class Socket {
      static readonly CONNECTING = 0;
      static readonly OPEN = 1;
      readyState = Socket.CONNECTING;
      onopen = () => {};
      constructor() {
        made = this;
      }
      send(data: string | Uint8Array) {
        sent.push(typeof data === 'string' ? data : new TextDecoder().decode(data));
      }
      close() {}
    }
    let made: Socket | undefined;
    vi.stubGlobal('WebSocket', Socket);
    vi.stubGlobal('window', { location: { protocol: 'http:', host: 'x' } });
    const link = new TerminalLink('t', { onOutput: () => {}, onNotice: () => {}, onGone: () => {} });
    link.type('ls');
    link.type('\r');
    expect(sent).toEqual([]);
    if (made) made.readyState = Socket.OPEN;
    made?.onopen();
    link.type('exit');
    expect(sent).toEqual(['ls', '\r', 'exit']);
  });
});

describe('addresses', () => {
  it('follow the page', () => {
    expect(socketAddress('a/b', { protocol: 'https:', host: 'x:1' })).toBe('wss://x:1/api/v1/terminal?ticket=a%2Fb');
    expect(socketAddress('t', { protocol: 'http:', host: 'x' })).toBe('ws://x/api/v1/terminal?ticket=t');
  });
});

describe('a recording', () => {
  const file = [
    '{"version":2,"width":90,"height":30,"timestamp":1700000000,"title":"t"}',
    '[0.5,"o","one"]',
    '[60.5,"o","two"]',
    '[60.6,"r","100x40"]',
    '[60.7,"i","typed"]',
    '[61,"o","three"]',
    '[62,"o","cut',
  ].join('\n');
  it('is read as far as it goes, long waits shortened', () => {
    const r = parseRecording(file);
    expect([r.columns, r.rows, r.title]).toEqual([90, 30, 't']);
    expect(r.frames.map((f) => f.text)).toEqual(['one', 'two', '', 'three']);
    expect(r.frames[1]?.at).toBeCloseTo(2.5);
    expect(r.frames[2]?.size).toEqual({ columns: 100, rows: 40 });
    expect(r.length).toBeCloseTo(3);
  });
  it('gives what lies between two moments', () => {
    const r = parseRecording(file);
    expect(between(r, -1, 1).map((f) => f.text)).toEqual(['one']);
    expect(between(r, 1, r.length).map((f) => f.text)).toEqual(['two', '', 'three']);
  });
  it('refuses what is none', () => {
    expect(() => parseRecording('')).toThrow();
    expect(() => parseRecording('{"version":3}')).toThrow(/version 3/);
  });
});
