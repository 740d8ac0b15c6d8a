import { shellQuote as q } from './shell';

/** Builds "baton verb ARG --flag VALUE"; flags whose value is null, false or empty are left out, true stands alone. */
function line(words: readonly string[], args: readonly string[] = [], flags: Record<string, string | number | boolean | null | undefined> = {}): string {
  const tail = Object.entries(flags).flatMap(([name, value]) => {
    if (value === null || value === undefined || value === false || value === '') return [];
    return value === true ? [`--${name}`] : [`--${name}`, q(String(value))];
  });
  return ['baton', ...words, ...args.map(q), ...tail].join(' ');
}

/** The command line of each act, so that what is done in the page can be scripted. */
export const cli = {
  addNode: (cluster: string, name: string, agent: string, reason = '') => line(['add-node'], [cluster, name || 'NAME'], { agent: agent || 'AGENT', reason }),
  removeNode: (cluster: string, node: string, wipe: boolean, reason = '') => line(['remove-node'], [cluster, node], { confirm: node, wipe, reason }),
  deleteCluster: (cluster: string, wipe: boolean, reason = '') => line(['delete'], [cluster], { confirm: cluster, wipe, reason }),
  resync: (cluster: string, node: string, reason = '') => line(['resync'], [cluster, node], { reason }),
  maintenance: (cluster: string, node: string, minutes: number, reason = '') => line(['maintenance'], [cluster, node], minutes > 0 ? { for: `${minutes}m`, reason } : { end: true }),
  tags: (cluster: string, node: string, flags: Record<string, string | number | boolean | null>) => line(['tag'], [cluster, node], flags),
  failover: (cluster: string, node: string, acceptLoss: boolean, reason = '') => line(['failover'], node ? [cluster, node] : [cluster], { 'accept-loss': acceptLoss, confirm: node || cluster, reason }),
  pause: (cluster: string, minutes: number, reason = '') => line(['pause'], [cluster], { for: `${minutes}m`, reason }),
  acknowledge: (cluster: string) => line(['acknowledge'], [cluster]),
  backup: (cluster: string, node = '', target = '', reason = '') => line(['backup'], [cluster], { node, target, reason }),
  verifyBackup: (cluster: string, backup: string) => line(['backup', 'verify'], [cluster, backup]),
  deleteBackup: (cluster: string, backup: string) => line(['backup', 'delete'], [cluster, backup], { confirm: backup }),
  restoreBeside: (cluster: string, backup: string, name: string) => line(['restore'], [cluster, backup], { beside: name || 'NAME' }),
  restoreInPlace: (cluster: string, backup: string) => line(['restore'], [cluster, backup], { 'in-place': true, confirm: cluster }),
  drill: (cluster: string) => line(['backup', 'drill'], [cluster]),
  create: (name: string, flags: Record<string, string | number | boolean | null>) => line(['create'], [name || 'NAME'], flags),
  adopt: (name: string, primary: string, agent: string, user = '') => line(['adopt'], [name || 'NAME'], { primary: primary || 'HOST:PORT', agent: agent || 'AGENT', user }),
  verifyAudit: () => line(['audit'], [], { verify: true }),
  alerts: () => line(['alerts']),
  acknowledgeAlert: (id: string, minutes: number | null) => line(['alerts', 'ack'], [id], { for: minutes === null ? null : `${minutes}m` }),
  watch: (operation: string) => line(['op', 'watch'], [operation]),
  cancel: (operation: string) => line(['op', 'cancel'], [operation]),
};
