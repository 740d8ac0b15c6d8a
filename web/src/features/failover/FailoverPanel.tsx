import { Button } from '@mantine/core';
import { useState } from 'react';
import { api, path } from '../../api/client';
import { has } from '../../api/capabilities';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { ClusterDetail } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { StatusBadge } from '../../components/Badges';
import { CopyCommand } from '../../components/Copy';
import { NumberField } from '../../components/Fields';
import { Panel } from '../../components/Page';
import { cli } from '../../lib/cli';
import { useNow } from '../../lib/clock';
import { age, milliseconds, sentenceCase } from '../../lib/format';
import { may, useRole } from '../session/session';
import { failoverSentence, leaseSentence, leaseTone } from './lease';
import { FailoverDialog, primaryGone } from './FailoverDialog';
import classes from './FailoverPanel.module.css';

/** The lease of the primary and what happens when it dies; pause and acknowledge. */
export function FailoverPanel({ cluster }: { cluster: ClusterDetail }) {
  const now = useNow();
  const role = useRole();
  const [pausing, setPausing] = useState(false);
  const [forcing, setForcing] = useState(false);
  const resume = useChange(() => api.post(path('clusters', cluster.id, 'failover', 'pause'), { minutes: 0, reason: 'resumed from the dashboard' }), keys.cluster(cluster.id));
  const acknowledge = useChange(() => api.post(path('clusters', cluster.id, 'failover', 'acknowledge'), {}), keys.cluster(cluster.id));
  const { lease, failover } = cluster;
  if (cluster.engine === 'eventstore') return <Elected />;
  if (!lease && !failover) return null;
  const state = failover ? failoverSentence(failover, now) : null;
  const until = (at: string | null | undefined) => (at ? Math.max(0, Date.parse(at) - now) : 0);
  const paused = until(failover?.suspendedUntil);
  const cooling = until(failover?.coolDownUntil);
  const trouble = resume.error ?? acknowledge.error;
  return (
    <Panel title="If the primary dies" aside={state && <StatusBadge tone={state.tone}>{state.word}</StatusBadge>}>
      {state && (
        <p className={classes.sentence} aria-live="polite">
          {sentenceCase(state.sentence)}
          {paused > 0 && ` It arms again in ${age(paused)}.`}
          {paused === 0 && cooling > 0 && ` It ends in ${age(cooling)}.`}
        </p>
      )}
      {lease && (
        <div className={classes.lease} data-tone={leaseTone[lease.state] ?? 'unknown'} data-testid="lease" data-state={lease.state}>
          <div className={classes.line}>
            <span>
              <strong>Lease</strong> {lease.state === 'none' ? 'none' : lease.state.replace('-', ' ')}
              {lease.holder && `, ${lease.holder}`}
            </span>
            <span className="num">{lease.state === 'held' || lease.state === 'at-risk' ? `${milliseconds(lease.expiresInMs)} left of ${milliseconds(lease.ttlMs)}` : ''}</span>
          </div>
          <span className={classes.bar} aria-hidden="true">
            <span style={{ width: `${Math.max(0, Math.min(100, (lease.expiresInMs / Math.max(1, lease.ttlMs)) * 100))}%` }} />
          </span>
          <p className="faint">{leaseSentence(lease)}</p>
        </div>
      )}
      {may.operate(role) && failover && (
        <div className={classes.buttons}>
          {has('POST /clusters/{id}/failover/pause') &&
            (paused > 0 ? (
              <>
                <Button variant="default" size="xs" loading={resume.isPending} onClick={() => resume.mutate(undefined)}>
                  Arm again now
                </Button>
                <CopyCommand value={cli.pause(cluster.id, 0)} />
              </>
            ) : (
              failover.mode !== 'off' && (
                <Button variant="default" size="xs" onClick={() => setPausing(true)}>
                  Pause automatic failover
                </Button>
              )
            ))}
          {cooling > 0 && has('POST /clusters/{id}/failover/acknowledge') && (
            <>
              <Button variant="default" size="xs" loading={acknowledge.isPending} onClick={() => acknowledge.mutate(undefined)}>
                Acknowledge and end the cool-down
              </Button>
              <CopyCommand value={cli.acknowledgeFailover(cluster.id)} />
            </>
          )}
          {has('POST /clusters/{id}/failover') && may.administer(role) && primaryGone(cluster) && (
            <Button color="bad" variant="outline" size="xs" onClick={() => setForcing(true)}>
              Fail over by hand…
            </Button>
          )}
          {trouble && <span role="alert">{troubleFrom(trouble).title}</span>}
        </div>
      )}
      {forcing && <FailoverDialog cluster={cluster} onClose={() => setForcing(false)} />}
      {pausing && <PauseDialog cluster={cluster} onClose={() => setPausing(false)} />}
    </Panel>
  );
}

/** Clusters of this engine need nobody for it. */
function Elected() {
  return (
    <Panel title="If the leader dies" aside={<StatusBadge tone="ok">Elected</StatusBadge>}>
      <p className={classes.sentence}>The voters elect another leader among themselves within moments, as long as a majority of them answers. An acknowledged write is on the disks of a majority and is kept.</p>
    </Panel>
  );
}

const defaultPauseMinutes = 30;

function PauseDialog({ cluster, onClose }: { cluster: ClusterDetail; onClose: () => void }) {
  const [minutes, setMinutes] = useState<number | null>(defaultPauseMinutes);
  const pause = useChange((body: { minutes: number; reason: string }) => api.post(path('clusters', cluster.id, 'failover', 'pause'), body), keys.cluster(cluster.id));
  return (
    <ActionDialog
      title={`Pause automatic failover of ${cluster.name}`}
      verb="Pause"
      reason="needed"
      blocked={minutes === null || minutes < 1 || minutes > 10_080 ? 'Give 1 to 10080 minutes (a week).' : null}
      cli={({ reason }) => cli.pause(cluster.id, minutes ?? 0, reason)}
      act={({ reason }) => pause.mutateAsync({ minutes: minutes ?? 0, reason })}
      onDone={onClose}
      onClose={onClose}
    >
      <p>While it is paused nothing is promoted by itself: if the primary dies, writes stop until somebody promotes by hand. Planned promotions still work. It arms again by itself.</p>
      <NumberField label="Minutes" value={minutes} onChange={setMinutes} min={1} max={10_080} />
    </ActionDialog>
  );
}
