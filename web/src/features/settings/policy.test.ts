import { expect, it } from 'vitest';
import type { Policy } from '../../api/types';
import { changeOf, whyNotPolicy } from './policy';

const policy: Policy = {
  durability: 'async', syncReplicas: 0, failover: 'no-loss', maxLossBytes: 0, maxLossAgeSeconds: 10, leaseTtlMs: 5000, coolDownSeconds: 600, mode: 'auto', restartFirst: true,
  approval: false, deletionProtection: true, allowCidrs: [], backupSchedule: '', backupKeep: 0, backupTarget: '', drillSchedule: '', maintenanceUntil: null,
};

it('sends what differs and the revision it was seen at', () => {
  expect(changeOf({ policy, revision: '4' }, { ...policy, failover: 'off', allowCidrs: ['10.0.0.0/8'] })).toEqual({ revision: '4', failover: 'off', allowCidrs: ['10.0.0.0/8'] });
});
it('says what cannot be saved', () => {
  expect(whyNotPolicy(policy, 3)).toBeNull();
  expect(whyNotPolicy({ ...policy, durability: 'sync', syncReplicas: 3 }, 3)).toMatch(/1 to 2/);
  expect(whyNotPolicy({ ...policy, leaseTtlMs: 100 }, 3)).toMatch(/lease/);
  expect(whyNotPolicy({ ...policy, allowCidrs: ['10.0.0.0/99'] }, 3)).toMatch(/network/);
});
