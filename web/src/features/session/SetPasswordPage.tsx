import { Button, PasswordInput } from '@mantine/core';
import { Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useState, type FormEvent } from 'react';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Session } from '../../api/types';
import { Note } from '../../components/Faces';
import { Door } from './Door';
import classes from './Door.module.css';
import { whyNotAccount } from './session';

/** Where the one-use link of an invitation leads: choose a password, and be signed in. */
export function SetPasswordPage() {
  const navigate = useNavigate();
  const [{ token, user }] = useState(() => {
    const hash = new URLSearchParams(location.hash.replace(/^#/, ''));
    return { token: hash.get('token') ?? '', user: hash.get('user') ?? '' };
  });
  const [password, setPassword] = useState('');
  const [tried, setTried] = useState(false);
  const set = useChange((body: { token: string; password: string }) => api.post<Session>('/set-password', body), keys.session);

  // The link works once; keep it out of the history and of shared screens.
  useEffect(() => {
    if (location.hash !== '') history.replaceState(history.state, '', location.pathname);
  }, []);

  const problem = whyNotAccount(user || 'user', password);
  const trouble = set.error ? troubleFrom(set.error) : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (problem === null) set.mutate({ token, password }, { onSuccess: () => void navigate({ to: '/clusters' }) });
  };
  if (token === '') {
    return (
      <Door title="This link is not complete" lead="Open the whole link that you were given. It works once; ask an administrator for a new one if it was used.">
        <Button component={Link} to="/sign-in" size="md" variant="default">
          Sign in
        </Button>
      </Door>
    );
  }
  return (
    <Door title={user ? `Welcome, ${user}` : 'Choose a password'} lead="Choose a password. Nobody else ever sees it.">
      <form onSubmit={submit} className={classes.fields}>
        {trouble && (
          <Note tone="bad" title={trouble.title}>
            {trouble.detail && <p>{trouble.detail}</p>}
            {trouble.fix && <p>{trouble.fix}</p>}
          </Note>
        )}
        <input type="text" name="username" autoComplete="username" value={user} readOnly hidden />
        <PasswordInput label="Password" name="password" description="At least 12 characters." autoComplete="new-password" autoFocus size="md" value={password} error={tried ? problem : null} onChange={(e) => setPassword(e.currentTarget.value)} />
        <Button type="submit" size="md" loading={set.isPending} fullWidth>
          Set password and sign in
        </Button>
      </form>
    </Door>
  );
}
