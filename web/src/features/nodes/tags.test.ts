import { expect, it } from 'vitest';
import { node } from '../../testing/fixtures';
import { maintenanceUntil, setTags, tagsOf } from './tags';

it('names set tags, and takes the priority of servers without tags', () => {
  expect(setTags(tagsOf(node({ priority: 5 })))).toEqual([]);
  expect(tagsOf(node({ priority: 5 })).priority).toBe(5);
  expect(setTags({ priority: 1, noFailover: true, never: false, noSync: false, noBackup: true })).toEqual(['no failover', 'no backup']);
});
it('ends maintenance by itself', () => {
  const n = { ...node(), maintenanceUntil: '2026-03-01T12:00:00Z' };
  expect(maintenanceUntil(n, Date.parse('2026-03-01T11:00:00Z'))).not.toBeNull();
  expect(maintenanceUntil(n, Date.parse('2026-03-01T12:00:01Z'))).toBeNull();
});
