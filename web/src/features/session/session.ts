import { useMutation, useQuery, useQueryClient } from '@tanstack/react-query';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import type { LoginRequest, Session, SetupRequest, SetupState, UserRole } from '../../api/types';

/** The present session; null when signed out. */
export function useSession() {
  return useQuery({
    queryKey: keys.session,
    queryFn: async ({ signal }): Promise<Session | null> => {
      try {
        return await api.get<Session>('/session', signal);
      } catch (error) {
        if (troubleFrom(error).status === 401) return null;
        throw error;
      }
    },
    staleTime: 60_000,
  });
}

/** Whether this control plane still waits for its first user. */
export function useSetupState(enabled = true) {
  return useQuery({
    queryKey: keys.setup,
    queryFn: ({ signal }) => api.get<SetupState>('/setup-state', signal),
    enabled,
  });
}

export function useSignIn() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: LoginRequest) => api.post<Session>('/login', body),
    onSuccess: (session) => client.setQueryData(keys.session, session),
  });
}

export function useSetup() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (body: SetupRequest) => api.post<Session>('/setup', body),
    onSuccess: (session) => {
      client.setQueryData(keys.setup, { needsSetup: false });
      client.setQueryData(keys.session, session);
    },
  });
}

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => api.post('/logout'),
    onSettled: () => {
      client.setQueryData(keys.session, null);
      // What was seen belongs to the person who left.
      client.removeQueries({ predicate: (q) => q.queryKey[0] !== keys.session[0] });
    },
  });
}

/** Viewers look; operators and administrators promote. The server decides, this only spares a click. */
export function mayPromote(role: UserRole | string | undefined): boolean {
  return role === 'operator' || role === 'admin';
}

/** What each role may begin; the server decides, this only spares a click. */
export const may = {
  operate: (role: string | undefined) => role === 'operator' || role === 'admin',
  administer: (role: string | undefined) => role === 'admin',
  approve: (role: string | undefined) => role === 'approver' || role === 'admin',
  audit: (role: string | undefined) => role === 'auditor' || role === 'admin',
};

/** The role of the signed-in person. */
export function useRole(): string | undefined {
  return useSession().data?.role;
}

/** The shortest password the server takes. */
export const minPasswordLength = 12;

/** What is wrong with a new account's fields; null when nothing is. The server checks again. */
export function whyNotAccount(username: string, password: string): string | null {
  if (!/^[a-z][a-z0-9-]{0,62}$/.test(username)) return 'A user name starts with a letter and holds only a–z, 0–9 and “-”.';
  if ([...password].length < minPasswordLength) return `The password needs at least ${minPasswordLength} characters; a short sentence works well.`;
  if (password.toLowerCase().includes(username) && username.length > 3) return 'The password must not hold the user name.';
  return null;
}
