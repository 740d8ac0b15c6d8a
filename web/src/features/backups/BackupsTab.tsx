import { Button, Menu, NativeSelect, TextInput } from '@mantine/core';
import { IconArchive, IconDotsVertical, IconLock } from '@tabler/icons-react';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { Accepted, Backup, ClusterBackups, ClusterDetail, Credentials, RestoreAccepted } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { Empty, Note } from '../../components/Faces';
import { Choice } from '../../components/Fields';
import { Facts, Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { SecretDialog } from '../../components/SecretDialog';
import { cli } from '../../lib/cli';
import { bytes, dateTime, group, milliseconds, sentenceCase, unknown } from '../../lib/format';
import { useCluster } from '../clusters/queries';
import { whyNot } from '../clusters/can';
import { may, useRole } from '../session/session';
import { whyNotName } from '../wizard/names';
import { useBackupTargets, useClusterBackups } from './queries';
import { backupTone, backupWord, restorable, scheduleWords } from './window';
import { backupWords, targetChoice, type BackupWords } from './words';
import { WindowBar } from './WindowBar';
import classes from './Backups.module.css';

const route = getRouteApi('/shell/clusters/$id');

type Open = { kind: 'take' } | { kind: 'drill' } | { kind: 'verify' | 'restore' | 'delete'; backup: Backup } | null;

export function BackupsTab() {
  const { id } = route.useParams();
  const navigate = useNavigate();
  const { data: cluster } = useCluster(id);
  const backups = useClusterBackups(id);
  const role = useRole();
  const [open, setOpen] = useState<Open>(null);
  const [secret, setSecret] = useState<Credentials | null>(null);
  if (!cluster) return null;
  const words = backupWords(cluster.engine);
  const close = () => setOpen(null);
  const started = (a: Accepted & { credentials?: Credentials | null }) => {
    close();
    if (a.credentials) setSecret(a.credentials);
    void navigate({ to: '.', search: (old) => ({ ...old, op: a.operationId }) });
  };
  return (
    <QueryFaces query={backups} label="Loading the backups" rows={3} height={90}>
      {(b) => {
        const list = [...(b.backups ?? [])].sort((x, y) => Date.parse(y.at) - Date.parse(x.at));
        return (
          <div className={classes.tab}>
            <Panel
              title="What can be restored"
              aside={
                <>
                  {has('POST /clusters/{id}/drill') && may.operate(role) && list.some(restorable) && (
                    <Button variant="default" size="xs" onClick={() => setOpen({ kind: 'drill' })}>
                      Restore drill
                    </Button>
                  )}
                  {has('POST /clusters/{id}/backups') && may.operate(role) && (
                    <Button size="xs" leftSection={<IconArchive size={15} />} onClick={() => setOpen({ kind: 'take' })}>
                      Back up now
                    </Button>
                  )}
                </>
              }
            >
              {b.sentence && list.length > 0 && <p>{sentenceCase(b.sentence)}</p>}
              <WindowBar backups={list} schedule={b.schedule} earliest={b.window?.earliest ?? null} latest={b.window?.latest ?? null} />
              <Drill data={b} words={words} />
              <Facts
                facts={[
                  ['Schedule', `${scheduleWords(b.schedule)}${b.nextAt ? `, next ${dateTime(b.nextAt).slice(5, 16)}` : ''}`],
                  ['Kept', b.keep > 0 ? `the newest ${b.keep}` : 'all'],
                  ['Stored in', b.targetWhere || b.target || 'the default target'],
                  ['Restore drill', scheduleWords(b.drillSchedule)],
                ]}
              />
            </Panel>
            {list.length === 0 ? (
              <Empty title="No backup was taken yet">
                <p className="quiet">{words.without}</p>
              </Empty>
            ) : (
              <List backups={list} words={words} onOpen={setOpen} operate={may.operate(role)} administer={may.administer(role)} />
            )}
            {secret && <SecretDialog title="Account of the restored cluster" parts={[['User', secret.user], ['Password', secret.password]]} onClose={() => setSecret(null)} />}
            {open?.kind === 'take' && <TakeDialog cluster={cluster} own={b.target} onDone={started} onClose={close} />}
            {open?.kind === 'drill' && <DrillDialog cluster={cluster} onDone={started} onClose={close} />}
            {open?.kind === 'verify' && <VerifyDialog cluster={cluster} backup={open.backup} onDone={started} onClose={close} />}
            {open?.kind === 'restore' && <RestoreDialog cluster={cluster} backup={open.backup} onDone={started} onClose={close} />}
            {open?.kind === 'delete' && <DeleteDialog cluster={cluster} backup={open.backup} onClose={close} />}
          </div>
        );
      }}
    </QueryFaces>
  );
}

/** Whether a backup was ever proven to come back. */
function Drill({ data: b, words }: { data: ClusterBackups; words: BackupWords }) {
  if ((b.backups ?? []).every((x) => !restorable(x))) return null;
  if (!b.lastDrill) {
    return (
      <Note tone="warn" title="No restore was rehearsed yet">
        <p>{words.drillWhy}</p>
      </Note>
    );
  }
  const d = b.lastDrill;
  return (
    <Note tone={d.ok ? 'ok' : 'bad'} title={d.ok ? `The last restore drill passed in ${milliseconds(d.ms)}` : 'The last restore drill failed'}>
      <p>
        {d.sentence} <Age at={d.at} sentence event />
      </p>
    </Note>
  );
}

function List({ backups, words, onOpen, operate, administer }: { backups: readonly Backup[]; words: BackupWords; onOpen: (open: Open) => void; operate: boolean; administer: boolean }) {
  const columns: Column<Backup>[] = [
    {
      head: 'Taken',
      cell: (b) => (
        <>
          <span className="num">{dateTime(b.at)}</span>
          <Under>
            <Age at={b.at} sentence event /> from {b.node || 'unknown'}
          </Under>
        </>
      ),
    },
    {
      head: 'State',
      cell: (b) => (
        <>
          <StatusBadge tone={b.damaged ? 'bad' : (backupTone[b.state] ?? 'unknown')}>{b.damaged ? 'Damaged' : (backupWord[b.state] ?? b.state)}</StatusBadge>
          {b.why && <Under>{sentenceCase(b.why)}</Under>}
          {b.verifiedAt && (
            <Under>
              {b.verifiedHow || 'restored on trial'}, <Age at={b.verifiedAt} sentence event />
            </Under>
          )}
        </>
      ),
      kind: 'wide',
    },
    { head: 'Size', cell: (b) => (b.state === 'failed' ? unknown : bytes(b.bytes)), kind: 'num' },
    {
      head: words.holds,
      cell: (b) => (
        <>
          {b.state === 'running' ? '–' : group(b.keys)}
          {b.position && <Under>up to position {group(b.position)}</Under>}
        </>
      ),
      kind: 'num',
    },
    { head: 'Restore took', cell: (b) => (b.restoreMs === null ? <span className="faint">not measured</span> : milliseconds(b.restoreMs)), kind: 'num' },
    {
      head: 'Stored in',
      cell: (b) => (
        <>
          {b.target || 'default'}
          <Under>
            {b.onPrimary ? `read from the ${words.leader}, ` : ''}
            {b.encrypted ? (
              <>
                <IconLock size={12} aria-hidden style={{ verticalAlign: -1 }} /> encrypted
              </>
            ) : (
              'not encrypted'
            )}
            {b.sha256 && <span title={`SHA-256 ${b.sha256}`}> · {b.sha256.slice(0, 8)}</span>}
          </Under>
        </>
      ),
    },
    {
      head: 'Actions',
      kind: 'actions',
      cell: (b) =>
        restorable(b) && (operate || administer) ? (
          <>
            {has('POST /clusters/{id}/backups/{backup}/restore') && operate && (
              <Button size="xs" variant="default" onClick={() => onOpen({ kind: 'restore', backup: b })}>
                Restore
              </Button>
            )}
            {(has('POST /clusters/{id}/backups/{backup}/verify') || has('POST /clusters/{id}/backups/{backup}/delete')) && (
              <Menu position="bottom-end" width={190} shadow="md">
                <Menu.Target>
                  <Button size="xs" variant="subtle" color="gray" px={6} aria-label={`More for the backup of ${dateTime(b.at)}`}>
                    <IconDotsVertical size={15} />
                  </Button>
                </Menu.Target>
                <Menu.Dropdown>
                  {has('POST /clusters/{id}/backups/{backup}/verify') && operate && <Menu.Item onClick={() => onOpen({ kind: 'verify', backup: b })}>Verify now</Menu.Item>}
                  {has('POST /clusters/{id}/backups/{backup}/delete') && administer && (
                    <Menu.Item color="bad" onClick={() => onOpen({ kind: 'delete', backup: b })}>
                      Delete backup
                    </Menu.Item>
                  )}
                </Menu.Dropdown>
              </Menu>
            )}
          </>
        ) : null,
    },
  ];
  return <DataTable caption="Backups, newest first" columns={columns} rows={backups} keyOf={(b) => b.id} testId={() => 'backup-row'} />;
}

interface DialogProps {
  cluster: ClusterDetail;
  onDone: (a: Accepted) => void;
  onClose: () => void;
}

function TakeDialog({ cluster, own, onDone, onClose }: DialogProps & { own: string }) {
  const targets = useBackupTargets();
  const [node, setNode] = useState('');
  const [chosen, setTarget] = useState<string | null>(null);
  const choice = targetChoice(own, targets.data?.targets ?? []);
  const target = chosen ?? choice.initial;
  const take = useChange((body: Record<string, string>) => api.post<Accepted>(path('clusters', cluster.id, 'backups'), body), keys.backups);
  return (
    <ActionDialog
      title={`Back up ${cluster.name} now`}
      verb="Back up now"
      reason="optional"
      cli={({ reason }) => cli.backup(cluster.id, node, target, reason)}
      act={({ reason }) => take.mutateAsync({ ...(node && { node }), ...(target && { target }), ...(reason && { reason }) })}
      onDone={onDone}
      onClose={onClose}
    >
      <p>A snapshot is read from one node, encrypted, checksummed and stored. Writes go on meanwhile.</p>
      <NativeSelect label="From" value={node} onChange={(e) => setNode(e.currentTarget.value)} data={[{ value: '', label: backupWords(cluster.engine).best }, ...cluster.nodes.map((n) => ({ value: n.name, label: n.name }))]} />
      {choice.data.length > 0 && <NativeSelect label="To" value={target} onChange={(e) => setTarget(e.currentTarget.value)} data={choice.data} />}
      {own === '' && targets.data && choice.data.length === 0 && (
        <Note tone="warn" title="There is no place for backups yet">
          <p>Add one in the settings, or with baton targets add.</p>
        </Note>
      )}
    </ActionDialog>
  );
}

function DrillDialog({ cluster, onDone, onClose }: DialogProps) {
  const drill = useChange(() => api.post<Accepted>(path('clusters', cluster.id, 'drill')), keys.backups);
  return (
    <ActionDialog title={`Restore drill for ${cluster.name}`} verb="Start the drill" cli={() => cli.drill(cluster.id)} act={() => drill.mutateAsync(undefined)} onDone={onDone} onClose={onClose}>
      <p>{backupWords(cluster.engine).drill}</p>
    </ActionDialog>
  );
}

function VerifyDialog({ cluster, backup, onDone, onClose }: DialogProps & { backup: Backup }) {
  const verify = useChange(() => api.post<Accepted>(path('clusters', cluster.id, 'backups', backup.id, 'verify')), keys.backups);
  return (
    <ActionDialog title={`Verify the backup of ${dateTime(backup.at)}`} verb="Verify" cli={() => cli.verifyBackup(cluster.id, backup.id)} act={() => verify.mutateAsync(undefined)} onDone={onDone} onClose={onClose}>
      <p>{backupWords(cluster.engine).verify}</p>
    </ActionDialog>
  );
}

function RestoreDialog({ cluster, backup, onDone, onClose }: DialogProps & { backup: Backup }) {
  const [mode, setMode] = useState<'beside' | 'in-place'>('beside');
  const [name, setName] = useState(`${cluster.name}-restored`.slice(0, 40));
  const restore = useChange((body: Record<string, string>) => api.post<RestoreAccepted>(path('clusters', cluster.id, 'backups', backup.id, 'restore'), body), keys.backups, keys.clusters);
  const noInPlace = whyNot(cluster, 'restore-in-place');
  const beside = mode === 'beside';
  return (
    <ActionDialog
      key={mode}
      title={`Restore ${cluster.name} as of ${dateTime(backup.at)}`}
      verb={beside ? 'Restore beside' : 'Replace the data'}
      danger={!beside}
      typed={beside ? undefined : cluster.name}
      reason="optional"
      blocked={beside ? whyNotName(name) : null}
      cli={({ reason }) => (beside ? cli.restoreBeside(cluster.id, backup.id, name, reason) : cli.restoreInPlace(cluster.id, backup.id, reason))}
      act={({ typedName, reason }) => restore.mutateAsync({ ...(beside ? { mode, name } : { mode, typedName, generation: cluster.generation }), ...(reason && { reason }) })}
      onDone={onDone}
      onClose={onClose}
    >
      <Choice
        label="How"
        value={mode}
        onChange={setMode}
        options={[
          { value: 'beside', title: 'Beside, as a new cluster', consequence: `${cluster.name} goes on untouched. ${backupWords(cluster.engine).beside}` },
          { value: 'in-place', title: 'In place', disabled: noInPlace !== null, consequence: noInPlace ?? `Everything written to ${cluster.name} after ${dateTime(backup.at)} is gone. Writes stop while it runs. A backup of the present state is taken first.` },
        ]}
      />
      {beside && <TextInput label="Name of the new cluster" value={name} onChange={(e) => setName(e.currentTarget.value)} />}
      {!beside && (
        <Note tone="bad" title={`Writes since ${dateTime(backup.at)} will be lost`}>
          <p>
            That is <Age at={backup.at} event /> of writes.
          </p>
        </Note>
      )}
    </ActionDialog>
  );
}

function DeleteDialog({ cluster, backup, onClose }: { cluster: ClusterDetail; backup: Backup; onClose: () => void }) {
  const remove = useChange((typedName: string) => api.post(path('clusters', cluster.id, 'backups', backup.id, 'delete'), { typedName }), keys.backups);
  return (
    <ActionDialog title={`Delete the backup of ${dateTime(backup.at)}`} verb="Delete backup" danger typed={backup.id} cli={() => cli.deleteBackup(cluster.id, backup.id)} act={({ typedName }) => remove.mutateAsync(typedName)} onDone={onClose} onClose={onClose}>
      <p>
        {bytes(backup.bytes)}
        {backup.keys !== null && `, ${group(backup.keys)} ${backupWords(cluster.engine).items}`}. It cannot be brought back.
      </p>
    </ActionDialog>
  );
}
