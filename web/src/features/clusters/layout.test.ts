import { describe, expect, it } from 'vitest';
import type { ClusterNode, Link } from '../../api/types';
import { node } from '../../testing/fixtures';
import { cardHeight, lanes, leadHeight, maxLane, place } from './layout';

const five: ClusterNode[] = [
  node({ name: 'n-10', role: 'clone' }), node({ name: 'n-3', role: 'follower' }), node({ name: 'n-1', role: 'leader' }),
  node({ name: 'n-2', role: 'follower' }), node({ name: 'n-9', role: 'read-only replica' }),
];
const link = (to: string, from = 'n-1'): Link => ({ from, to, kind: 'sync', lagBytes: '0', lagSeconds: 0, up: true });

describe('lanes', () => {
  it('parts who leads, who follows and who stands apart', () => {
    const l = lanes(five);
    expect(l.lead?.name).toBe('n-1');
    expect(l.follow.map((n) => n.name)).toEqual(['n-2', 'n-3']);
    expect(l.apart.map((n) => n.name)).toEqual(['n-9', 'n-10']);
  });
  it('takes the higher term when two claim to lead, and keeps the other in sight', () => {
    const l = lanes([node({ name: 'a', role: 'leader', term: '4' }), node({ name: 'b', role: 'leader', term: '10' })]);
    expect(l.lead?.name).toBe('b');
    expect(l.follow.map((n) => n.name)).toEqual(['a']);
  });
  it('shows nodes of an unknown role', () => expect(lanes([node({ role: 'unknown' })]).follow).toHaveLength(1));
});

describe('place', () => {
  for (const width of [280, 390, 700, 1100]) {
    it(`draws every node once inside ${width} px, none over another`, () => {
      const p = place(five, [link('n-2'), link('n-3'), link('n-9'), link('n-10')], width);
      expect(p.cards).toHaveLength(five.length);
      expect(p.edges).toHaveLength(4);
      const heightOf = (lane: string) => (lane === 'lead' ? leadHeight : cardHeight);
      for (const c of p.cards) {
        expect(c.x).toBeGreaterThanOrEqual(0);
        expect(c.x + p.cardWidth).toBeLessThanOrEqual(width);
        expect(c.y + heightOf(c.lane)).toBeLessThanOrEqual(p.height);
        for (const o of p.cards) {
          const apart = o === c || o.x + p.cardWidth <= c.x || c.x + p.cardWidth <= o.x || o.y + heightOf(o.lane) <= c.y || c.y + heightOf(c.lane) <= o.y;
          expect(apart, `${o.node.name} over ${c.node.name}`).toBe(true);
        }
      }
    });
  }
  it('draws the nodes in trouble of a lane of many, and counts the others', () => {
    const many = Array.from({ length: 50 }, (_, i) => node({ name: `n-${i}`, role: i === 0 ? 'leader' : 'clone', lagBytes: i === 30 ? '900' : '0', status: { level: i === 44 ? 'down' : 'up', sentence: '' } }));
    const p = place(many, [], 900);
    expect(p.cards).toHaveLength(1 + maxLane);
    expect(p.cards.map((c) => c.node.name)).toEqual(expect.arrayContaining(['n-30', 'n-44']));
    expect(p.zones.map((z) => z.more)).toEqual([49 - maxLane]);
  });
  it('draws nothing for links to nodes it does not know', () => {
    expect(place(five, [link('gone'), link('n-1')], 900).edges).toEqual([]);
  });
  it('stands without a leader and without nodes', () => {
    expect(place([node({ role: 'unknown' })], [], 900).cards).toHaveLength(1);
    expect(place([], [], 900).height).toBeGreaterThan(0);
  });
});
