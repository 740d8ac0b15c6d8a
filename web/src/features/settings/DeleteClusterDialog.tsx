import { Checkbox } from '@mantine/core';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Accepted, ClusterDetail } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Note } from '../../components/Faces';
import { cli } from '../../lib/cli';
import { count, rate } from '../../lib/format';

export function DeleteClusterDialog({ cluster: c, onStarted, onClose }: { cluster: ClusterDetail; onStarted: (op: string) => void; onClose: () => void }) {
  const [wipe, setWipe] = useState(false);
  const remove = useChange((body: Record<string, unknown>) => api.post<Accepted>(path('clusters', c.id, 'delete'), body), keys.clusters);
  return (
    <ActionDialog
      title={`Delete ${c.name}`}
      verb={`Delete ${c.name}`}
      danger
      typed={c.name}
      reason="optional"
      cli={({ reason }) => cli.deleteCluster(c.id, wipe, reason)}
      act={({ typedName, reason }) => remove.mutateAsync({ typedName, wipe, ...(reason && { reason }) })}
      onDone={(a) => {
        onClose();
        onStarted(a.operationId);
      }}
      onClose={onClose}
    >
      <Note tone="bad" title={`${count(c.nodes.length, 'node')} will be stopped`}>
        <p>{(c.writesPerSecond ?? 0) > 0 ? `Clients write to it now: ${rate(c.writesPerSecond)} writes per second will fail.` : 'No client writes to it now.'}</p>
      </Note>
      <Checkbox checked={wipe} onChange={(e) => setWipe(e.currentTarget.checked)} label="Delete the data folders too" description="Else they stay on the hosts and the cluster can be adopted again." />
    </ActionDialog>
  );
}
