import { path } from '../../api/client';
import { keys } from '../../api/keys';
import { useGet } from '../../api/query';
import type { BackupSummary, BackupTarget, ClusterBackups } from '../../api/types';

const pollMs = 5000;

export function useBackups() {
  return useGet<{ clusters: BackupSummary[] | null }>([...keys.backups, 'all'], '/backups', { route: '/backups', every: pollMs });
}

export function useClusterBackups(cluster: string) {
  return useGet<ClusterBackups>(keys.backupsOf(cluster), path('clusters', cluster, 'backups'), { route: '/clusters/{id}/backups', every: pollMs });
}

export function useBackupTargets() {
  return useGet<{ targets: BackupTarget[] | null }>(keys.backupTargets, '/backup-targets', { route: '/backup-targets' });
}
