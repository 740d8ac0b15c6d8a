import { expect, it } from 'vitest';
import { namesOf, placeLabel, progress, sizeLabel } from './machine';

it('numbers several machines and leaves one its name', () => {
  expect(namesOf('db', 1)).toEqual(['db']);
  expect(namesOf('db', 3)).toEqual(['db-1', 'db-2', 'db-3']);
});

it('tells how far a machine is, and why it failed', () => {
  const at = '2026-01-01T00:00:00Z';
  const step = (s: 'make' | 'boot' | 'join', detail: string) => ({ step: s, detail, at });
  expect(progress({ state: 'making', why: '', steps: [] })).toMatchObject({ word: 'The provider is asked', over: 0 });
  expect(progress({ state: 'making', why: '', steps: [step('make', 'cx22 in fsn1'), step('boot', 'machine 4711 at 203.0.113.1')] })).toMatchObject({ word: 'It boots', over: 1, detail: 'machine 4711 at 203.0.113.1' });
  expect(progress({ state: 'failed', why: 'the quota is used up', steps: [] })).toMatchObject({ tone: 'bad', detail: 'the quota is used up' });
  expect(progress({ state: 'ready', why: '', steps: [] })).toMatchObject({ tone: 'ok', over: null });
});

it('names sizes and places as a person compares them', () => {
  expect(sizeLabel({ name: 'cx22', title: 'CX22', arch: 'x86', cores: 2, memoryBytes: '4294967296', diskBytes: '42949672960', monthlyPrice: 'EUR 4.51' })).toBe('CX22: 2 cores, 4 GiB, 40 GiB disk, x86, EUR 4.51 a month');
  expect(placeLabel({ name: 'fsn1', title: 'Falkenstein', country: 'DE' })).toBe('Falkenstein, DE (fsn1)');
});
