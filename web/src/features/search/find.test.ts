import { expect, it } from 'vitest';
import { find, maxFound, type Target } from './find';

const node = (label: string, cluster: string): Target => ({ kind: 'node', label, under: `node of ${cluster}`, cluster, node: label });
const all: Target[] = [
  { kind: 'page', label: 'Backups', under: 'page', to: '/backups' },
  node('sessions-10', 'sessions'),
  node('sessions-2', 'sessions'),
  node('demo-1', 'demo'),
  { kind: 'cluster', label: 'sessions', under: 'Redis', cluster: 'sessions' },
];

it('puts names that begin with the word first, clusters before their nodes', () => {
  expect(find(all, 'sess').map((t) => t.label)).toEqual(['sessions', 'sessions-2', 'sessions-10']);
});
it('finds a node by letters in order', () => {
  expect(find(all, 'dm1').map((t) => t.label)).toEqual(['demo-1']);
});
it('finds by what it belongs to', () => {
  expect(find(all, 'of demo').map((t) => t.label)).toEqual(['demo-1']);
});
it('finds nothing for nonsense and all for nothing, up to a bound', () => {
  expect(find(all, 'zzz')).toEqual([]);
  expect(find(Array.from({ length: 1000 }, (_, i) => node(`n-${i}`, 'c')), '')).toHaveLength(maxFound);
});
