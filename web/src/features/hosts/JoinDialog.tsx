import { Button, Modal } from '@mantine/core';
import { useMutation } from '@tanstack/react-query';
import { useEffect } from 'react';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import type { JoinToken } from '../../api/types';
import dialog from '../../components/ActionDialog.module.css';
import { Command, CommandLine } from '../../components/Copy';
import { ErrorFace, Loading } from '../../components/Faces';
import { useReturnFocus } from '../../components/returnFocus';
import { useNow } from '../../lib/clock';
import { cli } from '../../lib/cli';
import { age } from '../../lib/format';

/** The command that makes any Linux machine a host. It works once and for a while. */
export function JoinDialog({ onClose }: { onClose: () => void }) {
  useReturnFocus();
  const token = useMutation({ mutationFn: () => api.post<JoinToken>('/hosts/join-token') });
  const { mutate } = token;
  useEffect(() => mutate(), [mutate]);
  const now = useNow();
  return (
    <Modal opened onClose={onClose} size={680} radius={14} padding={24} title={<span className={dialog.title}>Add a host</span>} closeButtonProps={{ 'aria-label': 'Close' }}>
      <div className={dialog.form}>
        {token.data ? (
          <>
            <p>Run this as root on the machine. It appears on this page by itself, within seconds.</p>
            <Command value={token.data.command} prompt label="Copy the command" />
            <p className="quiet">
              The token in it works once, for {age(Math.max(0, Date.parse(token.data.expiresAt) - now))} more. The agent connects out to this control plane; no port is opened on the machine.
            </p>
            <CommandLine value={cli.hostToken()} />
          </>
        ) : token.error ? (
          <ErrorFace trouble={troubleFrom(token.error)} onRetry={() => mutate()} />
        ) : (
          <Loading rows={2} label="Making a token" />
        )}
        <Button variant="default" onClick={onClose} style={{ justifySelf: 'start' }}>
          Close
        </Button>
      </div>
    </Modal>
  );
}
