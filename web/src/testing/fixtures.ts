// Small valid values for tests; each test changes the field it is about.

import type { AuditRow, ClusterDetail, ClusterNode, Operation, OperationStep, Plan, Tags } from '../api/types';

export const at = (ms: number): string => new Date(Date.UTC(2026, 2, 1, 12) + ms).toISOString();

export function tags(over: Partial<Tags> = {}): Tags {
  return { priority: 100, noFailover: false, never: false, noSync: false, noBackup: false, expires: null, maintenance: null, ...over };
}

export function node(over: Partial<ClusterNode> = {}): ClusterNode {
  return {
    name: 'demo-1', role: 'follower', shouldBe: null, status: { level: 'up', sentence: '' }, promotable: { ok: true, reason: '' },
    lagBytes: '0', lagSeconds: 0, priority: 0, hardware: null, provider: 'local', location: 'rack-a', address: '127.0.0.1:2113',
    engineVersion: '26.1.0', position: '10', term: '3', lastUpdate: at(0), observedBy: 'agent-1', agent: 'agent-1', pid: 1, tags: tags(), ...over,
  };
}

export function cluster(over: Partial<ClusterDetail> = {}): ClusterDetail {
  return {
    id: 'demo', name: 'demo', engine: 'eventstore', version: '26.1.0', verdict: { level: 'healthy', sentence: 'Healthy: can lose 1 node' },
    primary: { node: 'demo-1', location: 'rack-a' }, membersUp: 2, membersTotal: 2, worstLagBytes: '0', writesPerSecond: 10, writesHistory: [1, 2],
    lastRoleChange: null, generation: '7', observedAt: at(0), runningOperation: null, lease: null, failover: null, failsafe: null,
    nodes: [node({ name: 'demo-1', role: 'leader' }), node({ name: 'demo-2' })], links: [], connections: [], activity: [], durability: '', capabilities: [], ...over,
  };
}

export function step(id: string, over: Partial<OperationStep> = {}): OperationStep {
  return { id, title: id, node: 'demo-2', command: '', state: 'pending', pointOfNoReturn: false, startedAt: null, endedAt: null, detail: '', ...over };
}

export function operation(over: Partial<Operation> = {}): Operation {
  return {
    id: 'op-1', kind: 'promotion', title: '', cluster: 'demo', node: 'demo-2', from: 'demo-1', state: 'running', pastPointOfNoReturn: false,
    steps: [], requester: 'admin', source: 'ui', reason: '', startedAt: at(0), endedAt: null, stall: null, proof: null, outcome: '',
    undo: null, rolesBefore: [], rolesAfter: [], reportHash: 'h1', generation: '7', ...over,
  };
}

export function plan(over: Partial<Plan> = {}): Plan {
  return {
    node: 'demo-2',
    report: {
      node: 'demo-2', promotable: true, reason: 'passes', hash: 'h1', generation: '7', at: new Date().toISOString(),
      checks: [{ id: 'lag.bytes', subject: 'lag', measured: '0', unit: 'B', warnAt: '1 MiB', refuseAt: '16 MiB', verdict: 'pass', overridable: false, why: '', fix: '' }],
    },
    refused: false, refusals: [],
    steps: [
      { id: 'check', title: 'Check demo-2', command: 'GET /cluster', node: 'demo-2', pointOfNoReturn: false, undo: 'nothing' },
      { id: 'transfer', title: 'Hand over', command: 'POST /cluster/promote', node: 'demo-1', pointOfNoReturn: true, undo: 'none' },
    ],
    expectedStallMs: 22, catchUpMs: 0, stallBudgetMs: 2000, possibleLoss: 'Nothing.', generation: '7', cli: 'baton promote demo demo-2 --confirm demo-2', ...over,
  };
}

export function auditRow(over: Partial<AuditRow> = {}): AuditRow {
  return {
    id: '1', at: at(0), kind: 'promotion', who: 'admin', role: 'admin', source: 'ui', ip: '127.0.0.1', what: 'promoted demo-2', cluster: 'demo', node: 'demo-2',
    outcome: 'done', stallMs: 24, operationId: 'op-1', detail: '', hash: 'x', ...over,
  };
}
