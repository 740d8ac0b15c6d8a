import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Alert } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { StatusBadge, ToneIcon } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { Empty } from '../../components/Faces';
import { NumberField } from '../../components/Fields';
import { PageHead, Pills } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { dateTime, sentenceCase } from '../../lib/format';
import { may, useRole } from '../session/session';
import { alertTone, byUrgency, stateWord } from './alerts';
import classes from './AlertsPage.module.css';
import { useAlerts } from './queries';

type Filter = 'open' | 'all';

/** What needs someone, worst first, each with what to do. */
export function AlertsPage() {
  const alerts = useAlerts();
  const role = useRole();
  const [filter, setFilter] = useState<Filter>('open');
  const [chosen, setChosen] = useState<Alert | null>(null);
  return (
    <>
      <PageHead title="Alerts" lead="What needs someone, worst first. Each goes away by itself once its cause is gone." actions={<Pills label="Show" value={filter} onChange={setFilter} options={[{ value: 'open', label: 'Open' }, { value: 'all', label: 'With resolved' }]} />} />
      <QueryFaces query={alerts} label="Loading the alerts" rows={3} height={88}>
        {(a) => {
          const list = byUrgency(a.alerts).filter((x) => filter === 'all' || x.state !== 'resolved');
          if (list.length === 0) {
            return (
              <Empty title="Nothing needs you">
                <p className="quiet">No alert fires. Lag, broken links, leases at risk, old backups, full disks and clusters without a promotable node appear here, and by e-mail or webhook where Settings name one.</p>
              </Empty>
            );
          }
          return (
            <ul className={`card ${classes.list}`}>
              {list.map((x) => (
                <Item key={x.id} alert={x} onAcknowledge={may.operate(role) && has('POST /alerts/{id}/acknowledge') ? () => setChosen(x) : undefined} />
              ))}
            </ul>
          );
        }}
      </QueryFaces>
      <div className={classes.cli}>
        <Command value={cli.alerts()} prompt label="Copy the command that lists the alerts" />
      </div>
      {chosen && <AcknowledgeDialog alert={chosen} onClose={() => setChosen(null)} />}
    </>
  );
}

function Item({ alert: a, onAcknowledge }: { alert: Alert; onAcknowledge?: () => void }) {
  const tone = alertTone(a);
  return (
    <li className={classes.item} data-tone={tone} data-state={a.state} data-testid="alert">
      <ToneIcon tone={tone} size={20} />
      <div className={classes.text}>
        <strong>{a.sentence}</strong>
        {a.fix && (
          <p>
            <span className={classes.do}>What to do:</span> {sentenceCase(a.fix)}
          </p>
        )}
        <p className={classes.meta}>
          <StatusBadge tone={tone}>
            {stateWord[a.state] ?? a.state}
            {a.state === 'firing' && `, ${a.severity}`}
          </StatusBadge>
          {a.cluster && (
            <Link to="/clusters/$id" params={{ id: a.cluster }} search={a.node ? { node: a.node } : {}}>
              {a.cluster}
              {a.node && ` / ${a.node}`}
            </Link>
          )}
          <span>
            {a.resolvedAt ? 'resolved' : 'since'} <Age at={a.resolvedAt ?? a.since} sentence event />
          </span>
          {a.acknowledgedBy && <span>acknowledged by {a.acknowledgedBy}</span>}
          {a.acknowledgedUntil && a.state === 'acknowledged' && <span>silent until {dateTime(a.acknowledgedUntil).slice(0, 16)}</span>}
          {a.note && <span>“{a.note}”</span>}
        </p>
      </div>
      {a.state === 'firing' && onAcknowledge && (
        <Button variant="default" size="xs" onClick={onAcknowledge}>
          Acknowledge
        </Button>
      )}
    </li>
  );
}

function AcknowledgeDialog({ alert, onClose }: { alert: Alert; onClose: () => void }) {
  const [minutes, setMinutes] = useState<number | null>(null);
  const acknowledge = useChange((body: { minutes?: number; note?: string }) => api.post(path('alerts', alert.id, 'acknowledge'), body), keys.alerts);
  return (
    <ActionDialog
      title="Acknowledge this alert"
      verb="Acknowledge"
      reason="optional"
      blocked={minutes !== null && (minutes < 1 || minutes > 43_200) ? 'Give 1 to 43200 minutes, or none.' : null}
      cli={() => cli.acknowledgeAlert(alert.id, minutes)}
      act={({ reason }) => acknowledge.mutateAsync({ ...(minutes !== null && { minutes }), ...(reason && { note: reason }) })}
      onDone={onClose}
      onClose={onClose}
    >
      <p>
        <strong>{alert.sentence}</strong>
      </p>
      <p>Your name stands beside it and no more messages are sent. Its cause stays until it is repaired.</p>
      <NumberField label="Silent for, minutes" description="Empty: until it is resolved." value={minutes} onChange={setMinutes} min={1} max={43_200} />
    </ActionDialog>
  );
}
