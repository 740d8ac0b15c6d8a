import { api, apiRoot, path } from '../../api/client';
import { ApiError, troubleFrom, troubleFromAnswer } from '../../api/errors';
import { useChange, useGet } from '../../api/query';
import type { components } from '../../api/schema';

export type TicketRequest = components['schemas']['TicketRequest'];
export type Ticket = components['schemas']['Ticket'];
export type TerminalSession = components['schemas']['TerminalSession'];
export type TerminalSessions = components['schemas']['TerminalSessions'];
export type TerminalKind = TicketRequest['kind'];

const pollMs = 3000;

const sessionsKey = (cluster: string) => ['terminal-sessions', cluster] as const;

/** Terminals of a cluster, open ones and those before. */
export function useTerminalSessions(cluster: string) {
  return useGet<TerminalSessions>(sessionsKey(cluster), `/terminal/sessions?cluster=${encodeURIComponent(cluster)}&limit=50`, { route: '/terminal/sessions', every: pollMs });
}

export function useEndTerminal(cluster: string) {
  return useChange((s: { id: string; reason: string }) => api.post(path('terminal', 'sessions', s.id, 'end'), { reason: s.reason }), sessionsKey(cluster));
}

export function askTicket(request: TicketRequest): Promise<Ticket> {
  return api.post<Ticket>('/terminal/tickets', request);
}

/** Where the WebSocket of a ticket is. */
export function socketAddress(ticket: string, page: { protocol: string; host: string } = window.location): string {
  return `${page.protocol === 'https:' ? 'wss' : 'ws'}://${page.host}${apiRoot}/terminal?ticket=${encodeURIComponent(ticket)}`;
}

/** A recording as it is kept: one JSON value a line. */
export async function fetchRecording(id: string, signal?: AbortSignal): Promise<string> {
  let answer: Response;
  try {
    answer = await fetch(apiRoot + path('terminal', 'recordings', id), { credentials: 'same-origin', signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ApiError(troubleFrom(error));
  }
  const text = await answer.text();
  if (answer.ok) return text;
  let problem: unknown = null;
  try {
    problem = JSON.parse(text);
  } catch {
    // The status says enough.
  }
  throw new ApiError(troubleFromAnswer(answer.status, problem));
}
