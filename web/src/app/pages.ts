import { IconActivity, IconArchive, IconBell, IconHierarchy3, IconServer2, IconSettings, IconUsers, IconUserCheck, type Icon } from '@tabler/icons-react';
import { has } from '../api/capabilities';

export interface PageLink {
  to: '/clusters' | '/activity' | '/backups' | '/alerts' | '/approvals' | '/hosts' | '/users' | '/settings';
  label: string;
  icon: Icon;
}

/** The pages of the frame, in the order of the navigation; those whose routes the server has. */
export function pages(): PageLink[] {
  const all: (PageLink & { needs: string[] })[] = [
    { to: '/clusters', label: 'Clusters', icon: IconHierarchy3, needs: [] },
    { to: '/activity', label: 'Activity', icon: IconActivity, needs: ['GET /activity'] },
    { to: '/backups', label: 'Backups', icon: IconArchive, needs: ['GET /backups'] },
    { to: '/alerts', label: 'Alerts', icon: IconBell, needs: ['GET /alerts'] },
    { to: '/approvals', label: 'Approvals', icon: IconUserCheck, needs: ['GET /approvals'] },
    { to: '/hosts', label: 'Hosts', icon: IconServer2, needs: [] },
    { to: '/users', label: 'Users', icon: IconUsers, needs: ['GET /users'] },
    { to: '/settings', label: 'Settings', icon: IconSettings, needs: ['GET /notifications', 'GET /backup-targets', 'GET /control', 'GET /audit/verify'] },
  ];
  return all.filter((p) => p.needs.length === 0 || p.needs.some(has));
}
