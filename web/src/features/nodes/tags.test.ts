import { expect, it } from 'vitest';
import { node, tags } from '../../testing/fixtures';
import { maintenanceUntil, setTags } from './tags';

it('names set tags in a fixed order', () => {
  expect(setTags(tags())).toEqual([]);
  expect(setTags(tags({ noBackup: true, noFailover: true }))).toEqual(['no failover', 'no backup']);
});
it('ends maintenance by itself', () => {
  const n = node({ tags: tags({ maintenance: '2026-03-01T12:00:00Z' }) });
  expect(maintenanceUntil(n, Date.parse('2026-03-01T11:00:00Z'))).not.toBeNull();
  expect(maintenanceUntil(n, Date.parse('2026-03-01T12:00:01Z'))).toBeNull();
});
