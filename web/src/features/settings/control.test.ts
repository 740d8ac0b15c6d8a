import type { ControlHealth } from '../../api/types';
import { expect, it } from 'vitest';
import { controlSign } from './control';

const health = (up: number, alive: number): ControlHealth => ({
  nodes: [0, 1, 2].map((i) => ({ name: `c${i}`, address: '', url: '', version: '', role: i === 0 ? 'leader' : 'follower', up: i < up, term: '4', lag: '0', self: i === 0 })),
  leader: up > 1 ? 'c0' : '', term: '4', quorum: { needed: 2, alive }, majority: true, staleSeconds: 0, sentence: '',
});

it('is green with all, yellow with a quorum, red without', () => {
  expect(controlSign(health(3, 3))).toEqual({ up: 3, total: 3, tone: 'ok', leader: 'c0 leads, term 4' });
  expect(controlSign(health(2, 2)).tone).toBe('warn');
  expect(controlSign(health(1, 1))).toMatchObject({ tone: 'bad', leader: 'no leader' });
});
