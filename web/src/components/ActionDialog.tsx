import { Button, Modal, TextInput } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useState, type FormEvent, type ReactNode } from 'react';
import { troubleFrom } from '../api/errors';
import classes from './ActionDialog.module.css';
import { CommandLine } from './Copy';
import { Note } from './Faces';
import { intoSight } from './intoSight';
import { useReturnFocus } from './returnFocus';

export interface Given {
  typedName: string;
  /** Without spaces around; empty when none was given. */
  reason: string;
}

interface ActionProps<Out> {
  title: string;
  /** What will happen, and the fields it needs. */
  children?: ReactNode;
  /** The name to type; none for acts that are easily taken back. */
  typed?: string;
  /** Asks for a reason; "needed" keeps the button off without one. */
  reason?: 'optional' | 'needed';
  /** What the button says. */
  verb: string;
  danger?: boolean;
  /** The same act as a command line; every act has one. */
  cli: (given: Given) => string;
  /** Why it cannot be sent yet, beyond name and reason. */
  blocked?: string | null;
  size?: number;
  act: (given: Given) => Promise<Out>;
  onDone: (out: Out) => void;
  onClose: () => void;
}

/** Why the button is off; null when it is on. The server checks all of it again. */
export function whyOff(given: Given, typed: string | undefined, reason: ActionProps<unknown>['reason'], blocked: string | null | undefined): string | null {
  if (blocked) return blocked;
  if (reason === 'needed' && given.reason === '') return 'A reason is needed; the audit keeps it.';
  if (typed !== undefined && given.typedName === '') return `Type ${typed} to confirm.`;
  if (typed !== undefined && given.typedName !== typed) return `That is not ${typed}.`;
  return null;
}

/** One act: consequence, fields, reason, typed name, button, command line. */
export function ActionDialog<Out>({ title, children, typed, reason, verb, danger = false, cli, blocked, size = 560, act, onDone, onClose }: ActionProps<Out>) {
  useReturnFocus();
  const [typedName, setTypedName] = useState('');
  const [why, setWhy] = useState('');
  const given = { typedName, reason: why.trim() };
  const mutation = useMutation({ mutationFn: act, onSuccess: onDone });
  const off = whyOff(given, typed, reason, blocked);
  /** The field says so itself. */
  const wrongName = typed !== undefined && typedName !== '' && !typed.startsWith(typedName);
  const trouble = mutation.error ? troubleFrom(mutation.error) : null;
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (off === null && !mutation.isPending) mutation.mutate(given);
  };
  return (
    <Modal opened onClose={onClose} size={size} radius={14} padding={24} title={<span className={classes.title}>{title}</span>} closeButtonProps={{ 'aria-label': 'Close without doing it' }}>
      <form onSubmit={submit} className={classes.form} data-testid="action-dialog">
        {children}
        {reason && (
          <TextInput
            label="Reason"
            description={reason === 'needed' ? 'The audit keeps it.' : 'Optional; the audit keeps it.'}
            name="reason"
            maxLength={500}
            value={why}
            onChange={(e) => setWhy(e.currentTarget.value)}
          />
        )}
        {typed !== undefined && (
          <TextInput
            label={
              <>
                Type <code className={classes.toType}>{typed}</code> to confirm
              </>
            }
            name="typed-name"
            data-testid="typed-name"
            autoComplete="off"
            autoCorrect="off"
            autoCapitalize="off"
            spellCheck={false}
            value={typedName}
            error={wrongName ? `That is not ${typed}.` : null}
            onChange={(e) => setTypedName(e.currentTarget.value)}
          />
        )}
        {trouble && (
          <div ref={intoSight} tabIndex={-1} className={classes.answer}>
            <Note tone="bad" title={trouble.title}>
              {trouble.detail && <p>{trouble.detail}</p>}
              {(trouble.refusals ?? []).map((r) => (
                <p key={`${r.code} ${r.detail}`}>
                  {r.title}. {r.fix}
                </p>
              ))}
              {trouble.fix && <p>{trouble.fix}</p>}
            </Note>
          </div>
        )}
        <div className={classes.buttons}>
          <Button type="submit" color={danger ? 'bad' : undefined} disabled={off !== null} loading={mutation.isPending} data-testid="act">
            {verb}
          </Button>
          <Button variant="default" onClick={onClose}>
            Cancel
          </Button>
          <span className={classes.off} aria-live="polite">
            {wrongName ? '' : (off ?? '')}
          </span>
        </div>
        <CommandLine value={cli(given)} />
      </form>
    </Modal>
  );
}
