import { expect, it } from 'vitest';
import { ApiError, troubleFrom, troubleFromAnswer } from './errors';

it('a problem of the server is shown in its own words', () => {
  const t = troubleFromAnswer(409, { title: 'Another operation runs', detail: 'mira promotes demo-2', code: 'operation-running', fix: 'Wait for it', operationId: 'op-9' });
  expect(t).toMatchObject({ title: 'Another operation runs', detail: 'mira promotes demo-2', code: 'operation-running', fix: 'Wait for it', operationId: 'op-9', status: 409 });
});

it('an answer without words still says what to do', () => {
  for (const status of [400, 401, 403, 404, 409, 422, 429, 500, 502, 503]) {
    const t = troubleFromAnswer(status, null);
    expect(t.title, String(status)).not.toBe('');
    expect(t.fix, String(status)).not.toBe('');
  }
  expect(troubleFromAnswer(503, null).retry).toBe(true);
  expect(troubleFromAnswer(403, null).retry).toBe(false);
});

it('no answer at all is not blamed on the clusters', () => {
  const t = troubleFrom(new TypeError('fetch failed'));
  expect(t.status).toBe(0);
  expect(t.retry).toBe(true);
  expect(t.fix).toContain('run without it');
  expect(troubleFrom(new ApiError(t))).toBe(t);
});
