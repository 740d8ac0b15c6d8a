import { Button, PasswordInput, TextInput } from '@mantine/core';
import { Link, useNavigate } from '@tanstack/react-router';
import { useEffect, useState, type FormEvent } from 'react';
import { troubleFrom } from '../../api/errors';
import { Loading, Note } from '../../components/Faces';
import { Door } from './Door';
import classes from './Door.module.css';
import { useSetup, useSetupState, whyNotAccount } from './session';

/** The token stands behind "#", so that it is never sent in a request line nor written to a log on the way. */
export function tokenFromHash(hash: string): string {
  return new URLSearchParams(hash.replace(/^#/, '')).get('token') ?? '';
}

export function SetupPage() {
  const navigate = useNavigate();
  const state = useSetupState();
  const setup = useSetup();
  const [token] = useState(() => tokenFromHash(location.hash));
  const [username, setUsername] = useState('admin');
  const [password, setPassword] = useState('');
  const [tried, setTried] = useState(false);

  // The link works once; keep it out of the history and of shared screens.
  useEffect(() => {
    if (location.hash !== '') history.replaceState(history.state, '', location.pathname);
  }, []);

  const problem = whyNotAccount(username, password);
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (problem === null) setup.mutate({ token, username, password }, { onSuccess: () => void navigate({ to: '/clusters' }) });
  };

  if (state.isPending) {
    return (
      <Door title="Set up Baton" lead="One moment.">
        <Loading rows={3} label="Asking the control plane whether it is set up" />
      </Door>
    );
  }
  if (state.data && !state.data.needsSetup && !setup.isSuccess) {
    return (
      <Door title="Already set up" lead="This control plane has its first user. The set-up link works once.">
        <Button component={Link} to="/sign-in" size="md">
          Sign in
        </Button>
      </Door>
    );
  }
  if (token === '') {
    return (
      <Door title="Set up Baton" lead="Open the one-use link that Baton printed when it started. It proves that you have access to this machine.">
        <div className={classes.fields}>
          <p className="quiet">It looks like this:</p>
          <code className={classes.like}>{location.origin}/setup#token=…</code>
          <p className="quiet">Lost it? Restart Baton: it prints a new one until the first user exists.</p>
        </div>
      </Door>
    );
  }
  const trouble = setup.error ? troubleFrom(setup.error) : null;
  return (
    <Door title="Set up Baton" lead="Create the first user. It is an administrator; there is no default password.">
      <form onSubmit={submit} className={classes.fields}>
        {trouble && (
          <Note tone="bad" title={trouble.title}>
            <p>{trouble.detail}</p>
            {trouble.fix && <p>{trouble.fix}</p>}
          </Note>
        )}
        <TextInput label="User name" name="username" autoComplete="username" required withAsterisk={false} size="md" value={username} onChange={(e) => setUsername(e.currentTarget.value)} />
        <PasswordInput
          label="Password"
          name="password"
          description="At least 12 characters."
          autoComplete="new-password"
          autoFocus
          required
          withAsterisk={false}
          size="md"
          value={password}
          error={tried ? problem : null}
          onChange={(e) => setPassword(e.currentTarget.value)}
        />
        <Button type="submit" size="md" loading={setup.isPending} fullWidth>
          Create user and sign in
        </Button>
      </form>
    </Door>
  );
}
