import { describe, expect, it } from 'vitest';
import { age, ageMs, ago, bytes, dateTime, group, isStale, lagSeconds, milliseconds, rate, sentenceCase, toNumber, unknown } from './format';

describe('bytes', () => {
  it.each([
    ['0', '0 B'],
    ['1023', '1023 B'],
    ['1024', '1 KiB'],
    ['1536', '1.5 KiB'],
    ['67108864', '64 MiB'],
    ['123456789012', '115 GiB'],
    [null, unknown],
    ['', unknown],
    ['not a number', unknown],
    ['-5', unknown],
  ])('%s is %s', (given, want) => expect(bytes(given)).toBe(want));
});

it('a missing number is never shown as zero', () => {
  for (const f of [bytes, rate, milliseconds, lagSeconds, group]) {
    expect(f(null)).toBe(unknown);
    expect(f(undefined)).toBe(unknown);
  }
  expect(toNumber('')).toBeNull();
});

it('a 64-bit number keeps every digit', () => {
  expect(group('9223372036854775807')).toBe('9\u2009223\u2009372\u2009036\u2009854\u2009775\u2009807');
});

describe('milliseconds', () => {
  it.each([
    [0, '0 ms'],
    [0.4, '0.4 ms'],
    [7.44, '7.4 ms'],
    [24.2, '24 ms'],
    [999.4, '999 ms'],
    [1880, '1.88 s'],
    [12_340, '12.3 s'],
    [125_000, '2 min 5 s'],
    [93_784_000, '26 h 3 min'],
  ])('%d is %s', (given, want) => expect(milliseconds(given)).toBe(want));
});

it('rates stay short', () => {
  expect(rate(0)).toBe('0');
  expect(rate(0.42)).toBe('0.42');
  expect(rate(842.4)).toBe('842');
  expect(rate(5210)).toBe('5\u2009210');
  expect(rate(51_600)).toBe('51.6 k');
});

it('lag below a millisecond is none', () => {
  expect(lagSeconds(0.0004)).toBe('0 ms');
  expect(lagSeconds(0.239)).toBe('239 ms');
  expect(lagSeconds(4.2)).toBe('4.2 s');
});

describe('ages', () => {
  const now = Date.parse('2026-03-01T12:00:00Z');

  it('count from the stamp to now and are never negative', () => {
    expect(ageMs('2026-03-01T11:59:56Z', now)).toBe(4000);
    expect(ageMs('2026-03-01T12:00:03Z', now)).toBe(0);
  });
  it('of nothing are unknown, so is the zero time of the server', () => {
    expect(ageMs(null, now)).toBeNull();
    expect(ageMs('0001-01-01T00:00:00Z', now)).toBeNull();
    expect(ageMs('yesterday', now)).toBeNull();
    expect(age(null)).toBe('never');
  });
  it('have one unit', () => {
    expect([400, 4000, 59_999, 60_000, 3_600_000, 47 * 3_600_000, 72 * 3_600_000].map(age)).toEqual(['now', '4 s', '59 s', '1 min', '1 h', '47 h', '3 d']);
    expect(ago(400)).toBe('just now');
    expect(ago(4000)).toBe('4 s ago');
  });
  it('past three seconds are stale, and so is what was never seen', () => {
    expect(isStale(3000)).toBe(false);
    expect(isStale(3001)).toBe(true);
    expect(isStale(null)).toBe(true);
  });
});

it('dates sort by eye', () => {
  expect(dateTime(new Date(2026, 2, 1, 9, 5, 7).toISOString())).toBe('2026-03-01 09:05:07');
  expect(dateTime('0001-01-01T00:00:00Z')).toBe(unknown);
});

it('sentences begin with a capital', () => {
  expect(sentenceCase('it is down')).toBe('It is down');
  expect(sentenceCase('')).toBe('');
  expect(sentenceCase('read-only replica')).toBe('Read-only replica');
  expect(sentenceCase('demo-2 leads')).toBe('demo-2 leads');
});
