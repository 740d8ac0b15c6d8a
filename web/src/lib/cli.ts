import { shellQuote as q } from './shell';

type Flags = Record<string, string | number | boolean | null | undefined>;

/** Builds "baton verb ARG --flag VALUE"; flags whose value is null, false or empty are left out, true stands alone. */
function line(verb: string, args: readonly string[] = [], flags: Flags = {}): string {
  const tail = Object.entries(flags).flatMap(([name, value]) => {
    if (value === null || value === undefined || value === false || value === '') return [];
    return value === true ? [`--${name}`] : [`--${name}`, q(String(value))];
  });
  return ['baton', verb, ...args.map(q), ...tail].join(' ');
}

/** Flags of "baton settings", by the field of a policy they change. */
const policyFlags: Readonly<Record<string, string>> = {
  durability: 'durability', syncReplicas: 'sync-replicas', failover: 'failover', maxLossBytes: 'max-loss-bytes', maxLossAgeSeconds: 'max-loss-seconds', leaseTtlMs: 'lease-ms', coolDownSeconds: 'cool-down',
  mode: 'mode', restartFirst: 'restart-first', approval: 'approval', deletionProtection: 'protect', allowCidrs: 'allow', backupSchedule: 'backup-schedule', backupKeep: 'backup-keep',
  backupTarget: 'backup-target', drillSchedule: 'drill-schedule',
};

/** One flag whatever its value is: here an empty one, false and 0 mean something. */
function flag(name: string, value: unknown): string {
  if (typeof value === 'boolean') return value ? `--${name}` : `--${name}=false`;
  return `--${name} ${q(Array.isArray(value) ? value.join(',') : String(value))}`;
}

/** Where e-mail is sent, as far as a command line may say it. */
interface Mail {
  host: string;
  port: number;
  from: string;
  to: readonly string[];
  user?: string;
  tls?: string;
}

/**
 * The command line of each act, so that what is done in the page can be
 * scripted. A sample of each stands in cli.lines.txt, which the command's own
 * tests parse.
 */
export const cli = {
  explain: (cluster: string, node: string) => line('explain', [cluster, node]),
  promote: (cluster: string, node: string, flags: Flags) => line('promote', [cluster, node], flags),
  undo: (operation: string, flags: Flags) => line('undo', [operation], flags),
  addNode: (cluster: string, name: string, agent: string, port: number | null, priority: number | null, reason = '') =>
    line('add-node', [cluster, `${name || 'NAME'}@${agent || 'AGENT'}${port === null ? '' : `:${port}`}`], { priority, reason }),
  removeNode: (cluster: string, node: string, wipe: boolean, reason = '') => line('remove-node', [cluster, node], { confirm: node, wipe, reason }),
  deleteCluster: (cluster: string, wipe: boolean, reason = '') => line('delete', [cluster], { confirm: cluster, wipe, reason }),
  restart: (cluster: string, reason = '') => line('restart', [cluster], { confirm: cluster, reason }),
  resync: (cluster: string, node: string, reason = '') => line('resync', [cluster, node], { reason }),
  maintenance: (cluster: string, node: string, minutes: number, reason = '') => line('maintenance', [cluster, node, String(minutes)], { reason }),
  tags: (cluster: string, node: string, flags: Flags) => line('tag', [cluster, node], flags),
  failover: (cluster: string, node: string, acceptLoss: boolean, reason = '', off = '') => line('failover', node ? [cluster, node] : [cluster], { 'accept-loss': acceptLoss, 'old-primary-is-off': off, confirm: node || cluster, reason }),
  pause: (cluster: string, minutes: number, reason = '') => line('pause', [cluster], { for: `${minutes}m`, reason }),
  backup: (cluster: string, node = '', target = '', reason = '') => line('backup', [cluster], { node, target, reason }),
  verifyBackup: (cluster: string, backup: string) => line('verify', [cluster, backup]),
  deleteBackup: (cluster: string, backup: string) => line('delete-backup', [cluster, backup], { confirm: backup }),
  restoreBeside: (cluster: string, backup: string, name: string, reason = '') => line('restore', [cluster, backup], { beside: name || 'NAME', reason }),
  restoreInPlace: (cluster: string, backup: string, reason = '') => line('restore', [cluster, backup], { 'in-place': true, confirm: cluster, reason }),
  drill: (cluster: string) => line('drill', [cluster]),
  create: (name: string, nodes: readonly string[], flags: Flags) => line('create', [name || 'NAME', ...(nodes.length > 0 ? nodes : ['NODE@AGENT'])], flags),
  adopt: (name: string, primary: string, agent: string, user = '') => line('adopt', [name || 'NAME', primary || 'HOST:PORT', agent || 'AGENT'], { user }),
  verifyAudit: (cluster = '') => line('audit', cluster ? [cluster] : [], { verify: true }),
  alerts: () => line('alerts'),
  acknowledgeAlert: (id: string, minutes: number | null) => line('alerts acknowledge', [id], { minutes }),
  watch: (operation: string) => line('op watch', [operation]),
  addAccount: (name: string, kind: string, endpoint = '') => line('hosts provider add', [name || 'NAME'], { kind, endpoint }),
  removeAccount: (name: string) => line('hosts provider remove', [name]),
  createMachine: (name: string, account: string, location: string, size: string, program = '') => line('hosts create', [name || 'NAME'], { account: account || 'ACCOUNT', location: location || 'LOCATION', size: size || 'SIZE', program }),
  deleteMachine: (id: string, name: string) => line('hosts machines delete', [id], { confirm: name }),
  readStream: (cluster: string, stream: string) => line(stream ? 'streams read' : 'streams', stream ? [cluster, stream] : [cluster]),
  appendEvent: (cluster: string, stream: string, type: string, data: string, reason = '') => line('streams append', [cluster, stream || 'STREAM', type || 'TYPE', data], { reason }),
  deleteStream: (cluster: string, stream: string, reason = '') => line('streams delete', [cluster, stream], { confirm: stream, reason }),
  subscriptions: (cluster: string) => line('subscriptions', [cluster]),
  createSubscription: (cluster: string, stream: string, group: string, flags: Flags) => line('subscriptions create', [cluster, stream || 'STREAM', group || 'GROUP'], flags),
  editSubscription: (cluster: string, stream: string, group: string, flags: Flags) => line('subscriptions edit', [cluster, stream, group], flags),
  replaySubscription: (cluster: string, stream: string, group: string, first: number | null, reason = '') => line('subscriptions replay', [cluster, stream, group], { first, reason }),
  deleteSubscription: (cluster: string, stream: string, group: string, reason = '') => line('subscriptions delete', [cluster, stream, group], { confirm: group, reason }),
  projections: (cluster: string) => line('projections', [cluster]),
  createProjection: (cluster: string, name: string, flags: Flags) => line('projections create', [cluster, name || 'NAME', 'FILE.js'], flags),
  editProjection: (cluster: string, name: string, emit: boolean, reason = '') => `${line('projections edit', [cluster, name, 'FILE.js'], { reason })} --emit=${emit}`,
  commandProjection: (cluster: string, name: string, command: 'enable' | 'disable' | 'abort' | 'reset', reason = '') => line(`projections ${command}`, [cluster, name], { confirm: command === 'reset' ? name : null, reason }),
  deleteProjection: (cluster: string, name: string, flags: Flags) => line('projections delete', [cluster, name], { confirm: name, ...flags }),
  storeLogin: (cluster: string, user: string) => line('store-login', [cluster], { user: user || 'NAME' }),
  forgetStoreLogin: (cluster: string) => line('store-login', [cluster], { forget: true }),
  addStoreUser: (cluster: string, login: string, groups: readonly string[], reason = '') => line('store-users add', [cluster, login || 'LOGIN'], { group: groups.join(','), reason }),
  storeUserGroups: (cluster: string, login: string, groups: readonly string[]) => line('store-users groups', [cluster, login, ...groups]),
  enableStoreUser: (cluster: string, login: string, enable: boolean) => line(`store-users ${enable ? 'enable' : 'disable'}`, [cluster, login]),
  resetStoreUser: (cluster: string, login: string) => line('store-users reset', [cluster, login]),
  deleteStoreUser: (cluster: string, login: string, reason = '') => line('store-users delete', [cluster, login], { confirm: login, reason }),
  decide: (waiting: string, reject: boolean, note = '') => line('approve', [waiting], { reject, note }),
  addPerson: (name: string, role: string) => line('users add', [name || 'NAME'], { role }),
  changeRole: (name: string, role: string) => line('users role', [name], { role }),
  passwordLink: (name: string) => line('users link', [name]),
  disablePerson: (name: string, disabled: boolean) => line(disabled ? 'users disable' : 'users enable', [name]),
  deletePerson: (name: string) => line('users delete', [name]),
  addToken: (name: string, role: string, days: number | null) => line('tokens add', [name || 'NAME'], { role, days }),
  endToken: (id: string) => line('tokens end', [id]),
  addDatabaseUser: (cluster: string, name: string, access: string) => line('db-users add', [cluster, name || 'NAME'], { access }),
  rotateDatabaseUser: (cluster: string, name: string) => line('db-users rotate', [cluster, name]),
  removeDatabaseUser: (cluster: string, name: string) => line('db-users remove', [cluster, name]),
  addTarget: (name: string, flags: Flags) => line('targets add', [name || 'NAME'], flags),
  removeTarget: (name: string) => line('targets remove', [name]),
  removeHost: (host: string) => line('hosts remove', [host]),
  hostToken: () => line('hosts token'),
  sshHost: (address: string, user: string, flags: Flags) => line('hosts ssh', [address || 'ADDRESS'], { user: user || 'USER', ...flags }),
  settings: (cluster: string, change: object) => [line('settings', [cluster]), ...Object.entries(change).flatMap(([field, value]) => (policyFlags[field] === undefined ? [] : [flag(policyFlags[field], value)]))].join(' '),
  endpoint: (cluster: string, enable: boolean, flags: Flags) => line('endpoint', [cluster], enable ? { enable: true, ...flags } : { disable: true }),
  parameters: (cluster: string, values: Readonly<Record<string, string>>) => line('params', [cluster, ...Object.entries(values).map(([name, value]) => `${name}=${value}`)]),
  notifications: (mail: Mail | null, webhooks: readonly string[]) =>
    [
      line('notifications', [], mail ? { 'mail-server': mail.host.includes(':') ? `[${mail.host}]:${mail.port}` : `${mail.host}:${mail.port}`, 'mail-from': mail.from, 'mail-to': mail.to.join(',') } : { 'no-mail': true }),
      ...(mail ? [flag('mail-user', mail.user ?? ''), flag('mail-encryption', mail.tls ?? 'starttls')] : []),
      ...(webhooks.length > 0 ? webhooks.map((url) => flag('webhook', url)) : ['--no-webhooks']),
    ].join(' '),
  testNotifications: () => line('alerts test'),
  acknowledgeFailover: (cluster: string) => line('acknowledge', [cluster]),
  cancelSchedule: (cluster: string, id: string) => line('schedules', [cluster], { cancel: id }),
  cancelOperation: (operation: string) => line('op cancel', [operation]),
  terminal: (cluster: string, node: string, flags: Flags) => line('terminal', [cluster, node], flags),
  endTerminal: (session: string, reason = '') => line('terminal end', [session], { reason }),
  up: () => 'baton up --demo',
  clusters: () => line('clusters'),
};
