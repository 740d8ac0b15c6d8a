import { QueryClient, type InfiniteData } from '@tanstack/react-query';
import { describe, expect, it } from 'vitest';
import { at, auditRow, cluster, operation, step } from '../testing/fixtures';
import { applyEvent } from './events';
import { keys } from './keys';
import { mergeAudit, mergeOperation } from './merge';
import type { AuditPage, AuditRow, ClusterSummary } from './types';

const pages = (...rows: AuditRow[]): InfiniteData<AuditPage, string> => ({
  pages: [{ rows, next: '', chain: { ok: true, records: rows.length, sentence: '' } }],
  pageParams: [''],
});

describe('mergeOperation', () => {
  it('a finished operation never seems to run again', () => {
    const done = operation({ state: 'done', endedAt: at(50) });
    const late = operation({ state: 'running', steps: [step('check', { state: 'running', startedAt: at(1) })] });
    expect(mergeOperation(done, late)).toBe(done);
    expect(mergeOperation(late, done)).toBe(done);
  });
  it('the further picture wins, whichever arrives last', () => {
    const one = operation({ steps: [step('a', { state: 'done', startedAt: at(1), endedAt: at(2) }), step('b')] });
    const two = operation({ steps: [step('a', { state: 'done', startedAt: at(1), endedAt: at(2) }), step('b', { state: 'running', startedAt: at(3) })] });
    expect(mergeOperation(two, one)).toBe(two);
    expect(mergeOperation(one, two)).toBe(two);
  });
  it('another operation replaces it', () => {
    const other = operation({ id: 'op-2', state: 'requested' });
    expect(mergeOperation(operation({ state: 'done' }), other)).toBe(other);
  });
});

describe('mergeAudit', () => {
  it('puts a new row on top', () => {
    const merged = mergeAudit(pages(auditRow({ id: '1' })), auditRow({ id: '2', operationId: 'op-2' }));
    expect(merged?.pages[0]?.rows.map((r) => r.id)).toEqual(['2', '1']);
  });
  it('does not show one row twice', () => {
    const merged = mergeAudit(pages(auditRow({ id: '1', detail: 'old' })), auditRow({ id: '1', detail: 'new' }));
    expect(merged?.pages[0]?.rows.map((r) => r.detail)).toEqual(['new']);
  });
  it('the end of an operation takes the place of its running row', () => {
    const merged = mergeAudit(pages(auditRow({ id: '1', outcome: 'running' })), auditRow({ id: '2', outcome: 'done' }));
    expect(merged?.pages[0]?.rows.map((r) => r.outcome)).toEqual(['done']);
  });
  it('invents nothing before the audit was loaded', () => {
    expect(mergeAudit(undefined, auditRow())).toBeUndefined();
  });
});

describe('applyEvent', () => {
  it('feeds the caches pages read, by id and by name', () => {
    const client = new QueryClient();
    applyEvent(client, 'clusters', [cluster()]);
    applyEvent(client, 'cluster', cluster({ id: 'c-1', name: 'demo' }));
    applyEvent(client, 'operation', operation());
    expect(client.getQueryData(keys.clusters)).toHaveLength(1);
    expect(client.getQueryData(keys.cluster('c-1'))).toEqual(client.getQueryData(keys.cluster('demo')));
    expect(client.getQueryData(keys.operation('op-1'))).toMatchObject({ state: 'running' });
  });
  it('ignores kinds of a newer server', () => {
    expect(() => applyEvent(new QueryClient(), 'backup', {})).not.toThrow();
  });
  it('an operation that is over runs in no list', () => {
    const client = new QueryClient();
    applyEvent(client, 'clusters', [cluster({ runningOperation: 'op-1' }), cluster({ id: 'other', runningOperation: 'op-2' })]);
    applyEvent(client, 'operation', operation({ id: 'op-1', state: 'running' }));
    const running = () => client.getQueryData<ClusterSummary[]>(keys.clusters)?.map((c) => c.runningOperation);
    expect(running()).toEqual(['op-1', 'op-2']);
    applyEvent(client, 'operation', operation({ id: 'op-1', state: 'done' }));
    expect(running()).toEqual([null, 'op-2']);
  });
});
