import { expect, it } from 'vitest';
import { cluster } from '../../testing/fixtures';
import { whyNot } from './can';

it('an act is possible unless the server says why not', () => {
  const c = cluster({ capabilities: [{ action: 'add-node', ok: false, why: 'Baton did not make the servers.' }, { action: 'resync', ok: true, why: '' }] });
  expect(whyNot(c, 'add-node')).toBe('Baton did not make the servers.');
  expect(whyNot(c, 'resync')).toBeNull();
  expect(whyNot(c, 'backup')).toBeNull();
});
