import { Checkbox, NativeSelect } from '@mantine/core';
import { useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Accepted, ClusterDetail } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { isLead } from '../../components/Badges';
import { Note } from '../../components/Faces';
import { cli } from '../../lib/cli';
import { bytes } from '../../lib/format';

/** Whether a failover by hand is what the moment asks for: no primary is seen, or it does not answer. */
export function primaryGone(c: ClusterDetail): boolean {
  const lead = c.nodes.find((n) => isLead(n.role));
  return c.primary === null || !lead || lead.status.level === 'down' || lead.status.level === 'unknown';
}

/** Puts another node in the place of a primary that is gone. Losing writes has to be accepted by a mark of its own. */
export function FailoverDialog({ cluster: c, wanted = '', onClose }: { cluster: ClusterDetail; wanted?: string; onClose: () => void }) {
  const navigate = useNavigate();
  const [node, setNode] = useState(wanted);
  const [acceptLoss, setAcceptLoss] = useState(false);
  const failover = useChange((body: Record<string, unknown>) => api.post<Accepted>(path('clusters', c.id, 'failover'), body), keys.cluster(c.id));
  const others = c.nodes.filter((n) => !isLead(n.role));
  const typed = node || c.name;
  return (
    <ActionDialog
      key={typed}
      title={`Fail ${c.name} over by hand`}
      verb="Fail over"
      danger
      typed={typed}
      reason="needed"
      cli={({ reason }) => cli.failover(c.id, node, acceptLoss, reason)}
      act={({ typedName, reason }) => failover.mutateAsync({ ...(node && { node }), typedName, acceptLoss, reason })}
      onDone={(a) => {
        onClose();
        void navigate({ to: '.', search: (old) => ({ ...old, op: a.operationId }) });
      }}
      onClose={onClose}
    >
      <p>For a primary that is gone. The old one is cut off first; a primary that still answers is moved with Promote, which loses nothing.</p>
      <NativeSelect label="New primary" value={node} onChange={(e) => setNode(e.currentTarget.value)} data={[{ value: '', label: 'the node furthest along' }, ...others.map((n) => ({ value: n.name, label: `${n.name}${n.lagBytes === null ? '' : `, ${bytes(n.lagBytes)} behind`}` }))]} />
      <Checkbox checked={acceptLoss} onChange={(e) => setAcceptLoss(e.currentTarget.checked)} label="Accept that acknowledged writes may be lost" description="Without this mark it is refused unless a node holds every acknowledged write." />
      {acceptLoss && (
        <Note tone="bad" title="Writes that only the old primary has are lost to clients">
          <p>They are saved as a bundle when it comes back. The audit keeps your name and reason.</p>
        </Note>
      )}
    </ActionDialog>
  );
}
