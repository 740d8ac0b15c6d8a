import { expect, it } from 'vitest';
import { cli } from './cli';

const samples: Record<keyof typeof cli, readonly string[]> = {
  explain: [cli.explain('shop', 'shop-2')],
  promote: [cli.promote('shop', 'shop-2', { confirm: 'shop-2' }), cli.promote('shop', 'shop-2', { confirm: 'shop-2', override: 'clock.skew,load', reason: "it's due", at: '2026-03-01T03:00:00.000Z' }), cli.promote('demo', 'demo-2', { 'dry-run': true })],
  undo: [cli.undo('op-1', { confirm: 'shop-1', reason: 'it was a test' })],
  addNode: [cli.addNode('shop', 'shop-4', 'rack-b', null, null), cli.addNode('shop', 'shop-4', 'rack-b', 6400, 50, 'more room'), cli.addNode('shop', '', '', null, null)],
  removeNode: [cli.removeNode('shop', 'shop-3', false), cli.removeNode('shop', 'shop-3', true, 'old disk')],
  deleteCluster: [cli.deleteCluster('shop', false), cli.deleteCluster('shop', true, 'not used')],
  restart: [cli.restart('shop'), cli.restart('shop', 'new limits')],
  resync: [cli.resync('shop', 'shop-3'), cli.resync('shop', 'shop-3', 'it lags')],
  maintenance: [cli.maintenance('shop', 'shop-3', 60, 'a new disk'), cli.maintenance('shop', 'shop-3', 0)],
  tags: [cli.tags('shop', 'shop-3', { priority: 0, nofailover: true, never: true, nosync: true, nobackup: true, days: 3 })],
  failover: [cli.failover('shop', '', false, 'the host burns'), cli.failover('shop', 'shop-2', true, 'the host burns')],
  pause: [cli.pause('shop', 30, 'network work'), cli.pause('shop', 0)],
  backup: [cli.backup('shop'), cli.backup('shop', 'shop-2', 'store', 'before the release')],
  verifyBackup: [cli.verifyBackup('shop', 'b-1')],
  deleteBackup: [cli.deleteBackup('shop', 'b-1')],
  restoreBeside: [cli.restoreBeside('shop', 'b-1', 'shop-old', 'to look')],
  restoreInPlace: [cli.restoreInPlace('shop', 'b-1', 'dropped keys')],
  drill: [cli.drill('shop')],
  create: [cli.create('shop', ['shop-1@rack-a', 'shop-2@rack-b:6400'], { engine: 'redis', version: '7.0.15', 'memory-bytes': 268_435_456, durability: 'sync', allow: '10.0.0.0/8', protect: true }), cli.create('', [], {})],
  adopt: [cli.adopt('shop', '10.0.0.5:6379', 'rack-a', 'default'), cli.adopt('', '', '')],
  verifyAudit: [cli.verifyAudit('shop')],
  alerts: [cli.alerts()],
  acknowledgeAlert: [cli.acknowledgeAlert('a1', null), cli.acknowledgeAlert('a1', 60)],
  watch: [cli.watch('op-1')],
  addAccount: [cli.addAccount('main', 'hetzner'), cli.addAccount('', 'hetzner', 'https://cloud.example.org/v1')],
  removeAccount: [cli.removeAccount('main')],
  createMachine: [cli.createMachine('db-1', 'main', 'fsn1', 'cx22'), cli.createMachine('', '', '', '', 'https://10.0.0.2:8400/api/v1/program')],
  deleteMachine: [cli.deleteMachine('machine-1', 'db-1')],
  up: [cli.up()],
  clusters: [cli.clusters()],
};

it('each line is in the file that the command’s own tests parse', async () => {
  await expect(Object.values(samples).flat().join('\n') + '\n').toMatchFileSnapshot('cli.lines.txt');
});
