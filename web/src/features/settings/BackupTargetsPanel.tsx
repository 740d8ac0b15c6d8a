import { Button, PasswordInput, Switch, TextInput } from '@mantine/core';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import { useChange } from '../../api/query';
import type { BackupTarget } from '../../api/types';
import { ActionDialog } from '../../components/ActionDialog';
import { StatusBadge } from '../../components/Badges';
import { Choice, FieldRow } from '../../components/Fields';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { useBackupTargets } from '../backups/queries';
import { whyNotName } from '../wizard/names';
import classes from './Settings.module.css';

/** Where backups are stored. */
export function BackupTargetsPanel({ editable }: { editable: boolean }) {
  const targets = useBackupTargets();
  const [open, setOpen] = useState<'add' | BackupTarget | null>(null);
  const remove = useChange((name: string) => api.delete(path('backup-targets', name)), keys.backupTargets);
  return (
    <Panel
      title="Backup storage"
      lead="A directory or a bucket. Backups are encrypted before they leave the host."
      aside={
        editable &&
        has('POST /backup-targets') && (
          <Button variant="default" size="xs" onClick={() => setOpen('add')}>
            Add storage
          </Button>
        )
      }
    >
      <QueryFaces query={targets} label="Loading the storage" rows={2}>
        {(t) =>
          (t.targets ?? []).length === 0 ? (
            <p className="quiet">None is named: backups go to the control plane’s own data folder. Name another machine’s disk or a bucket to survive the loss of this one.</p>
          ) : (
            <ul className={classes.list}>
              {(t.targets ?? []).map((x) => (
                <li key={x.name}>
                  <span>
                    <strong>{x.name}</strong> <span className="faint">{x.kind === 's3' ? 'S3' : 'directory'}</span>
                    <code className={classes.quiet}>{x.location}</code>
                    {x.healthy !== true && x.why && <span className={classes.quiet}>{x.why}</span>}
                  </span>
                  <StatusBadge tone={x.healthy === null ? 'unknown' : x.healthy ? 'ok' : 'bad'}>{x.healthy === null ? 'Not tried yet' : x.healthy ? 'Works' : 'Does not work'}</StatusBadge>
                  {editable && has('DELETE /backup-targets/{name}') && (
                    <Button size="xs" variant="subtle" color="bad" onClick={() => setOpen(x)} aria-label={`Remove ${x.name}`}>
                      Remove
                    </Button>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </QueryFaces>
      {open === 'add' && <AddDialog onClose={() => setOpen(null)} />}
      {open !== null && typeof open === 'object' && (
        <ActionDialog title={`Remove the storage ${open.name}`} verb="Remove" danger typed={open.name} cli={() => cli.removeTarget(open.name)} act={() => remove.mutateAsync(open.name)} onDone={() => setOpen(null)} onClose={() => setOpen(null)}>
          <p>Backups in it stay where they are, but can no longer be listed or restored here.</p>
        </ActionDialog>
      )}
    </Panel>
  );
}

function AddDialog({ onClose }: { onClose: () => void }) {
  const [kind, setKind] = useState<'directory' | 's3'>('directory');
  const [name, setName] = useState('');
  const [location, setLocation] = useState('');
  const [s3, setS3] = useState({ endpoint: '', bucket: '', prefix: '', region: '', accessKey: '', secretKey: '', plainHttp: false });
  const add = useChange((body: Record<string, unknown>) => api.post('/backup-targets', body), keys.backupTargets);
  const blocked = whyNotName(name) ?? (kind === 'directory' ? (location.startsWith('/') ? null : 'Give the whole path, from “/”.') : s3.bucket === '' || s3.endpoint === '' ? 'Give the endpoint and the bucket.' : null);
  const field = (key: keyof typeof s3) => ({ value: s3[key] as string, onChange: (e: React.ChangeEvent<HTMLInputElement>) => setS3({ ...s3, [key]: e.currentTarget.value }), autoComplete: 'off', spellCheck: false });
  return (
    <ActionDialog
      title="Add backup storage"
      verb="Add storage"
      blocked={blocked}
      cli={() => cli.addTarget(name, kind === 'directory' ? { directory: location || 'PATH' } : { endpoint: s3.endpoint || 'HOST', bucket: s3.bucket || 'BUCKET', prefix: s3.prefix, region: s3.region, 'access-key': s3.accessKey, 'plain-http': s3.plainHttp })}
      act={() => add.mutateAsync(kind === 'directory' ? { name, kind, path: location } : { name, kind, ...s3 })}
      onDone={onClose}
      onClose={onClose}
    >
      <TextInput label="Name" value={name} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" spellCheck={false} data-autofocus />
      <Choice label="Kind" value={kind} onChange={setKind} options={[{ value: 'directory', title: 'Directory', consequence: 'On the hosts of the agents; a network mount survives the loss of a machine.' }, { value: 's3', title: 'S3', consequence: 'Any server that speaks it.' }]} />
      {kind === 'directory' ? (
        <TextInput label="Path" placeholder="/var/backups/baton" value={location} onChange={(e) => setLocation(e.currentTarget.value)} spellCheck={false} autoComplete="off" />
      ) : (
        <>
          <FieldRow>
            <TextInput label="Endpoint" placeholder="s3.example.org:9000" {...field('endpoint')} autoComplete="off" />
            <TextInput label="Region" {...field('region')} autoComplete="off" />
          </FieldRow>
          <FieldRow>
            <TextInput label="Bucket" {...field('bucket')} autoComplete="off" />
            <TextInput label="Prefix" {...field('prefix')} autoComplete="off" />
          </FieldRow>
          <FieldRow>
            <TextInput label="Access key" {...field('accessKey')} autoComplete="off" />
            <PasswordInput label="Secret key" description="Kept sealed." {...field('secretKey')} />
          </FieldRow>
          <Switch checked={s3.plainHttp} onChange={(e) => setS3({ ...s3, plainHttp: e.currentTarget.checked })} label="Without TLS" description="Only inside a network you trust; backups are encrypted either way." />
        </>
      )}
    </ActionDialog>
  );
}
