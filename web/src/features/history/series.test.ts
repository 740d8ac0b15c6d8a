import { expect, it } from 'vitest';
import { inUnit, maxPoints, niceTop, pieces, thin, valuesAt } from './series';

it('ends the scale at a round value of the unit', () => {
  expect(niceTop(0, 'ms')).toBe(1);
  expect(niceTop(13, 'ms')).toBe(20);
  expect(niceTop(842, 'per second')).toBe(1000);
  expect(niceTop(3 * 1024 * 1024, 'bytes')).toBe(4 * 1024 * 1024);
});
it('keeps peaks when it thins', () => {
  const points = Array.from({ length: 5000 }, (_, i): [number, number] => [i, i === 3333 ? 99 : 1]);
  const few = thin(points);
  expect(few.length).toBeLessThanOrEqual(maxPoints);
  expect(Math.max(...few.map((p) => p[1] ?? 0))).toBe(99);
});
it('draws nothing where nothing was measured', () => {
  expect(pieces([[0, 1], [10, 2], [100, 3], [110, null], [120, 4]], 10)).toEqual([[[0, 1], [10, 2]], [[100, 3]], [[120, 4]]]);
});
it('reads the values under the pointer', () => {
  const s = [{ node: 'a', points: [[0, 1], [10, 2]] as [number, number][] }, { node: 'b', points: [] }];
  expect(valuesAt(s, 9, 5)).toEqual([{ node: 'a', value: 2 }, { node: 'b', value: null }]);
});
it('says values in their unit', () => {
  expect(inUnit('bytes', 1536)).toBe('1.5 KiB');
  expect(inUnit('ms', 7.4)).toBe('7.4 ms');
  expect(inUnit('per second', 842)).toBe('842');
});
