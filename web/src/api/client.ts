import { ApiError, troubleFrom, troubleFromAnswer } from './errors';
import { learnServerTime } from '../lib/clock';

export const apiRoot = '/api/v1';

/** No answer within this time counts as "cannot be reached". Promotions answer at once (202) and are followed by events. */
const timeoutMs = 15_000;

async function call<T>(method: string, path: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const limit = AbortSignal.timeout(timeoutMs);
  let answer: Response;
  try {
    answer = await fetch(apiRoot + path, {
      method,
      credentials: 'same-origin',
      headers: body === undefined ? { Accept: 'application/json' } : { Accept: 'application/json', 'Content-Type': 'application/json' },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(troubleFrom(limit.aborted ? new Error(`no answer within ${timeoutMs / 1000} s`) : error));
  }
  learnServerTime(answer.headers.get('Date'));
  const text = await answer.text();
  let parsed: unknown = null;
  if (text !== '') {
    try {
      parsed = JSON.parse(text);
    } catch {
      if (answer.ok) {
        throw new ApiError({ ...troubleFromAnswer(502, null), title: 'The answer is not from a control plane', detail: 'It is not JSON. A proxy in between may have answered instead.' });
      }
    }
  }
  if (!answer.ok) throw new ApiError(troubleFromAnswer(answer.status, parsed));
  return parsed as T;
}

export const api = {
  get: <T>(path: string, signal?: AbortSignal) => call<T>('GET', path, undefined, signal),
  /** Unsafe methods always carry a JSON body: the server demands the content type as a guard against forged requests. */
  post: <T>(path: string, body: unknown = {}) => call<T>('POST', path, body),
  put: <T>(path: string, body: unknown = {}) => call<T>('PUT', path, body),
  delete: <T>(path: string) => call<T>('DELETE', path, {}),
};

/** Builds a path from parts that may hold any character. */
export function path(...parts: string[]): string {
  return '/' + parts.map(encodeURIComponent).join('/');
}
