import { expect, it } from 'vitest';
import { splitList, whyNotCidrs, whyNotName } from './names';

it('takes plain names and says what is wrong with others', () => {
  expect(whyNotName('cache-2')).toBeNull();
  expect(whyNotName('')).toMatch(/Give it/);
  expect(whyNotName('саche')).toMatch(/alphabets/); // The first two letters are Cyrillic.
  expect(whyNotName('a\nb')).not.toBeNull();
  expect(whyNotName('$(reboot)')).not.toBeNull();
  expect(whyNotName('Cache')).not.toBeNull();
  expect(whyNotName('cache-')).not.toBeNull();
  expect(whyNotName('x'.repeat(41))).toMatch(/at most/);
});
it('takes networks only', () => {
  expect(whyNotCidrs(['10.0.0.0/8', 'fd00::/8'])).toBeNull();
  expect(whyNotCidrs(['10.0.0.0'])).not.toBeNull();
  expect(whyNotCidrs(['300.0.0.0/8'])).not.toBeNull();
  expect(whyNotCidrs(['10.0.0.0/33'])).not.toBeNull();
});
it('splits lines and commas', () => {
  expect(splitList(' 10.0.0.0/8,\nfd00::/8 ')).toEqual(['10.0.0.0/8', 'fd00::/8']);
});
