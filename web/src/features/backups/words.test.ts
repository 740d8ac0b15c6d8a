import { expect, test } from 'vitest';
import { backupWords, targetChoice } from './words';

const disk = { name: 'disk', location: '/srv' };
const far = { name: 'far', location: 's3' };

test('an event store has events and a leader, Redis keys and a primary', () => {
  expect(backupWords('eventstore')).toMatchObject({ holds: 'Events', leader: 'leader' });
  expect(backupWords('redis')).toMatchObject({ holds: 'Keys', leader: 'primary' });
});

test('a cluster without a target of its own names one', () => {
  expect(targetChoice('', [disk])).toEqual({ initial: 'disk', data: [{ value: 'disk', label: 'disk (/srv)' }] });
  expect(targetChoice('', [])).toEqual({ initial: '', data: [] });
});

test('a cluster with a target is asked only where there are several', () => {
  expect(targetChoice('disk', [disk])).toEqual({ initial: '', data: [] });
  expect(targetChoice('disk', [disk, far]).data.map((d) => d.value)).toEqual(['', 'disk', 'far']);
});
