import { Button, PasswordInput, TextInput } from '@mantine/core';
import { getRouteApi, Navigate, useRouter } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { troubleFrom } from '../../api/errors';
import { Note } from '../../components/Faces';
import { Door } from './Door';
import classes from './Door.module.css';
import { useSession, useSetupState, useSignIn } from './session';

const route = getRouteApi('/sign-in');

export function SignInPage() {
  const { next } = route.useSearch();
  const router = useRouter();
  const session = useSession();
  const setup = useSetupState();
  const signIn = useSignIn();
  const [username, setUsername] = useState('');
  const [password, setPassword] = useState('');

  if (session.data && !signIn.isPending) return <Navigate to={next ?? '/clusters'} replace />;
  if (setup.data?.needsSetup) return <Navigate to="/setup" replace />;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    signIn.mutate({ username: username.trim(), password }, { onSuccess: () => router.history.push(next ?? '/clusters') });
  };
  const trouble = signIn.error ? troubleFrom(signIn.error) : setup.error ? troubleFrom(setup.error) : null;
  return (
    <Door title="Sign in" lead="To see who leads, and to change it.">
      <form onSubmit={submit} className={classes.fields}>
        {trouble && (
          <Note tone="bad" title={trouble.status === 401 ? 'User name or password is wrong' : trouble.title}>
            {trouble.status === 401 ? null : <p>{trouble.detail || trouble.fix}</p>}
          </Note>
        )}
        <TextInput label="User name" name="username" autoComplete="username" autoFocus required withAsterisk={false} size="md" value={username} onChange={(e) => setUsername(e.currentTarget.value)} />
        <PasswordInput label="Password" name="password" autoComplete="current-password" required withAsterisk={false} size="md" value={password} onChange={(e) => setPassword(e.currentTarget.value)} />
        <Button type="submit" size="md" loading={signIn.isPending} fullWidth>
          Sign in
        </Button>
      </form>
    </Door>
  );
}
