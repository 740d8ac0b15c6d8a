import { Button } from '@mantine/core';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import type { ClusterDetail } from '../../api/types';
import { Note } from '../../components/Faces';
import { bytes } from '../../lib/format';
import { may, useRole } from '../session/session';
import { FailoverDialog } from './FailoverDialog';
import { stranded } from './noPrimary';

/** On top of the page of a cluster that nobody leads and that does not fail over by itself: what to do. */
export function NoPrimaryNote({ cluster }: { cluster: ClusterDetail }) {
  const role = useRole();
  const [open, setOpen] = useState(false);
  const s = stranded(cluster);
  if (!s) return null;
  const force = has('POST /clusters/{id}/failover') && may.administer(role);
  return (
    <div style={{ marginBottom: 16 }} data-testid="no-primary">
      <Note tone="bad" title={`No node takes writes, and nothing will change that by itself${s.recorded ? ` while ${s.recorded} is away` : ''}`}>
        {s.recorded && (
          <p>
            {s.recorded} is the primary on record{s.seen && ` (${s.seen})`}. Bring it back first if you can: it becomes the primary again with everything it took. Automatic failover is off, so nobody takes its place.
          </p>
        )}
        {s.best ? (
          <p>
            If it stays away, {s.best} holds the most of the nodes that answer
            {s.behind.length > 0 && ` (${s.behind.map((b) => (b.bytes === 0n ? `${b.node} as much` : `${b.node} ${bytes(b.bytes.toString())} less`)).join(', ')})`}
            {s.silent.length > 0 && `; ${s.silent.join(', ')} cannot be asked`}. Before anything moves {s.recorded || 'the old primary'} is stopped by its agent and the positions are read again; writes that only it took are lost to clients. Where its agent cannot be reached nobody knows that it is silent: switch its machine off first, and say so in the dialog.
          </p>
        ) : (
          <p>No other node answers either. See that their machines and agents run.</p>
        )}
        {s.best && force && (
          <Button mt={8} size="xs" color="bad" variant="outline" onClick={() => setOpen(true)}>
            Promote {s.best}…
          </Button>
        )}
        {s.best && !force && <p>An administrator can promote it here.</p>}
      </Note>
      {open && s.best && <FailoverDialog cluster={cluster} wanted={s.best} onClose={() => setOpen(false)} />}
    </div>
  );
}
