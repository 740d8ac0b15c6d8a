import { expect, it } from 'vitest';
import { mayPromote, whyNotAccount } from './session';
import { tokenFromHash } from './SetupPage';

it('the set-up token comes from behind the #', () => {
  expect(tokenFromHash('#token=abc%2B1')).toBe('abc+1');
  expect(tokenFromHash('')).toBe('');
});

it('accounts are checked before they are sent', () => {
  expect(whyNotAccount('admin', 'a long enough sentence')).toBeNull();
  expect(whyNotAccount('admin', 'short')).toContain('12');
  expect(whyNotAccount('Admin!', 'a long enough sentence')).toContain('user name');
  expect(whyNotAccount('admin', 'admin-admin-admin')).not.toBeNull();
});

it('only operators and administrators promote', () => {
  expect([undefined, 'viewer', 'operator', 'admin'].map(mayPromote)).toEqual([false, false, true, true]);
});
