import type { Problem, Refusal, Report } from './types';

/** What a person is told when a request does not succeed. */
export interface Trouble {
  /** What happened, one line. */
  title: string;
  /** The cause, if known. */
  detail: string;
  /** What to do next. */
  fix: string;
  /** Stable word for branching, such as "stale-report". */
  code: string;
  /** HTTP status; 0 when no answer came. */
  status: number;
  /** Whether asking again may help. */
  retry: boolean;
  operationId?: string;
  /** Fingerprint of a machine's host key, to be confirmed. */
  hostKey?: string;
  report?: Report;
  refusals?: Refusal[];
}

/** ApiError is thrown for every answer that is not a success, and for no answer. */
export class ApiError extends Error {
  readonly trouble: Trouble;

  constructor(trouble: Trouble) {
    super(trouble.title);
    this.name = 'ApiError';
    this.trouble = trouble;
  }
}

const byStatus: Record<number, Pick<Trouble, 'title' | 'fix' | 'retry'>> = {
  400: { title: 'The control plane did not accept this request', fix: 'Reload the page; it may be older than the control plane.', retry: false },
  401: { title: 'You are signed out', fix: 'Sign in again.', retry: false },
  403: { title: 'Your role does not allow this', fix: 'Ask an administrator for the role it needs.', retry: false },
  404: { title: 'Not found', fix: 'Check the name; it may have been removed.', retry: false },
  409: { title: 'Something changed in the meantime', fix: 'Look at the present state and try again.', retry: true },
  422: { title: 'The control plane did not accept these values', fix: 'Correct them and try again.', retry: false },
  429: { title: 'Too many attempts', fix: 'Wait a little, then try again.', retry: true },
  503: { title: 'The control plane is not ready', fix: 'It may be starting. Your clusters run without it; this page retries by itself.', retry: true },
};

/** Turns an HTTP answer that is not a success into what a person is told. */
export function troubleFromAnswer(status: number, body: unknown): Trouble {
  const known = byStatus[status] ?? {
    title: status >= 500 ? 'The control plane had an error' : `The control plane answered ${status}`,
    fix: status >= 500 ? 'Your clusters run without it. Try again; if it stays, look at its log.' : '',
    retry: status >= 500,
  };
  const p: Partial<Problem> = body !== null && typeof body === 'object' ? (body as Problem) : {};
  return {
    title: p.title || known.title,
    detail: p.detail || '',
    fix: p.fix || known.fix,
    code: p.code || String(status),
    status,
    retry: p.retry ?? known.retry,
    operationId: p.operationId,
    hostKey: p.hostKey,
    report: p.report,
    refusals: p.refusals,
  };
}

/** Turns anything thrown into what a person is told. */
export function troubleFrom(error: unknown): Trouble {
  if (error instanceof ApiError) return error.trouble;
  return {
    title: 'The control plane cannot be reached',
    detail: error instanceof Error ? error.message : String(error),
    fix: 'Check that `baton up` or `baton control` runs and that this address is right. Your clusters run without it; this page retries by itself.',
    code: 'unreachable',
    status: 0,
    retry: true,
  };
}
