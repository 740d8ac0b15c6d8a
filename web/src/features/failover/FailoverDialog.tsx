import { Checkbox, NativeSelect, TextInput } from '@mantine/core';
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
import { useWhatIf } from './queries';

/** Whether a failover by hand is what the moment asks for: no primary is seen, or it does not answer. */
export function primaryGone(c: ClusterDetail): boolean {
  const lead = c.nodes.find((n) => isLead(n.role));
  return c.primary === null || !lead || lead.status.level === 'down' || lead.status.level === 'unknown';
}

/**
 * Puts another node in the place of a primary that is gone. Losing writes has
 * to be accepted by a mark of its own; where no lease tells that the old primary
 * is silent, that it is switched off can be said by its name.
 */
export function FailoverDialog({ cluster: c, wanted = '', onClose }: { cluster: ClusterDetail; wanted?: string; onClose: () => void }) {
  const navigate = useNavigate();
  const [node, setNode] = useState(wanted);
  const [acceptLoss, setAcceptLoss] = useState(false);
  const [saysOff, setSaysOff] = useState(false);
  const [offName, setOffName] = useState('');
  const failover = useChange((body: Record<string, unknown>) => api.post<Accepted>(path('clusters', c.id, 'failover'), body), keys.cluster(c.id));
  const old = (c.nodes.find((n) => n.shouldBe === 'primary') ?? c.nodes.find((n) => isLead(n.role)))?.name ?? '';
  const others = c.nodes.filter((n) => !isLead(n.role) && n.name !== old);
  const typed = node || c.name;
  /** Without leases nothing but its agent or a person tells that the old primary is silent. */
  const asksOff = acceptLoss && c.failover?.mode === 'off' && old !== '';
  const off = asksOff && saysOff;
  const loss = useWhatIf(c.id, acceptLoss ? old : '').data?.lossBound;
  return (
    <ActionDialog
      key={typed}
      title={`Fail ${c.name} over by hand`}
      verb="Fail over"
      danger
      typed={typed}
      reason="needed"
      blocked={off && offName !== old ? `Type ${old} to say that it is switched off.` : null}
      cli={({ reason }) => cli.failover(c.id, node, acceptLoss, reason, off ? offName || old : '')}
      act={({ typedName, reason }) => failover.mutateAsync({ ...(node && { node }), typedName, acceptLoss, ...(off && { oldPrimaryIsOff: offName }), reason })}
      onDone={(a) => {
        onClose();
        void navigate({ to: '.', search: (before) => ({ ...before, op: a.operationId }) });
      }}
      onClose={onClose}
    >
      <p>For a primary that is gone. The old one is cut off first; a primary that still answers is moved with Promote, which loses nothing.</p>
      <NativeSelect label="New primary" value={node} onChange={(e) => setNode(e.currentTarget.value)} data={[{ value: '', label: 'the node furthest along' }, ...others.map((n) => ({ value: n.name, label: `${n.name}${n.lagBytes === null ? '' : `, ${bytes(n.lagBytes)} behind`}` }))]} />
      <Checkbox checked={acceptLoss} onChange={(e) => setAcceptLoss(e.currentTarget.checked)} label="Accept that acknowledged writes may be lost" description="Without this mark it is refused unless a node holds every acknowledged write." />
      {acceptLoss && (
        <Note tone="bad" title="Writes that only the old primary has are lost to clients">
          {loss && <p>On the node furthest along {loss}.</p>}
          <p>They are saved as a bundle when it comes back. The audit keeps your name and reason.</p>
        </Note>
      )}
      {asksOff && (
        <Checkbox checked={saysOff} onChange={(e) => setSaysOff(e.currentTarget.checked)} label={`I have switched the machine of ${old} off`} description={`Only where its agent cannot be reached: an agent that can be reached ends ${old} itself.`} />
      )}
      {off && (
        <>
          <Note tone="bad" title={`If ${old} still runs, two nodes take writes`}>
            <p>Nothing here can see a machine that is cut off. It is refused while another host of the cluster reaches {old}; otherwise your word counts, and the audit keeps it. See that it cannot start by itself. When it comes back it becomes a replica, and what it took meanwhile is saved and discarded.</p>
          </Note>
          <TextInput
            label={
              <>
                Type <code>{old}</code> to say that its machine is switched off
              </>
            }
            name="old-primary-is-off"
            data-testid="old-primary-is-off"
            autoComplete="off"
            autoCorrect="off"
            autoCapitalize="off"
            spellCheck={false}
            value={offName}
            error={offName !== '' && !old.startsWith(offName) ? `That is not ${old}.` : null}
            onChange={(e) => setOffName(e.currentTarget.value)}
          />
        </>
      )}
    </ActionDialog>
  );
}
