import { Button } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { keys } from '../../api/keys';
import type { HostEntry } from '../../api/types';
import { useChange } from '../../api/query';
import { ActionDialog } from '../../components/ActionDialog';
import { Age, Dated } from '../../components/Age';
import { RoleIcon, StatusBadge } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { Empty } from '../../components/Faces';
import { PageHead } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { cli } from '../../lib/cli';
import { useStale } from '../../lib/clock';
import { bytes, toNumber, unknown } from '../../lib/format';
import { may, useRole } from '../session/session';
import { JoinDialog } from './JoinDialog';
import classes from './HostsPage.module.css';
import { MachinesPanel } from './MachinesPanel';
import { useHosts } from './queries';
import { SshDialog } from './SshDialog';

/** The machines, what they run, and how they join and leave. */
export function HostsPage() {
  const hosts = useHosts();
  const role = useRole();
  const [open, setOpen] = useState<'join' | 'ssh' | HostEntry | null>(null);
  const admin = may.administer(role);
  const join = admin && has('POST /hosts/join-token');
  const ssh = admin && has('POST /hosts/ssh');
  const columns: Column<HostEntry>[] = [
    {
      head: 'Host',
      cell: (h) => (
        <>
          {h.name}
          <Under>
            {h.agent}
            {h.version ? `, agent ${h.version}` : ''}
          </Under>
        </>
      ),
    },
    { head: 'State', cell: (h) => <Connected host={h} /> },
    {
      head: 'Runs',
      kind: 'wide',
      cell: (h) =>
        (h.instances ?? []).length === 0 ? (
          <span className="faint">{h.instances ? 'nothing' : unknown}</span>
        ) : (
          <span className={classes.instances}>
            {(h.instances ?? []).map((i) => (
              <Link key={`${i.cluster} ${i.node}`} to="/clusters/$id" params={{ id: i.cluster }} search={{ node: i.node }} className={classes.instance} title={`${i.node}, ${i.role} of ${i.cluster}`}>
                <RoleIcon role={i.role} size={13} /> {i.node}
                <span className="visually-hidden">, {i.role}</span>
              </Link>
            ))}
          </span>
        ),
    },
    {
      head: 'Hardware',
      kind: 'num',
      cell: (h) => (
        <Dated at={h.lastReport}>
          {h.cores} cores, {bytes(h.memoryBytes)}
          {h.load1 !== undefined && <Under>load {h.load1.toFixed(2)}</Under>}
        </Dated>
      ),
    },
    { head: 'Disk', kind: 'num', cell: (h) => <Disk host={h} /> },
    {
      head: 'System',
      cell: (h) => (
        <>
          {h.os || unknown}
          <Under>{[h.arch, h.supervision && `under ${h.supervision}`].filter(Boolean).join(', ')}</Under>
        </>
      ),
    },
    {
      head: 'Provider and location',
      cell: (h) => (
        <>
          {h.provider || unknown}
          <Under>{h.location}</Under>
        </>
      ),
    },
    {
      head: 'Actions',
      kind: 'actions',
      cell: (h) =>
        admin && has('DELETE /hosts/{id}') ? (
          <Button size="xs" variant="subtle" color="bad" onClick={() => setOpen(h)} aria-label={`Remove ${h.name}`}>
            Remove
          </Button>
        ) : null,
    },
  ];
  const buttons = (
    <>
      {ssh && (
        <Button variant="default" onClick={() => setOpen('ssh')}>
          Install over SSH
        </Button>
      )}
      {join && <Button onClick={() => setOpen('join')}>Add a host</Button>}
    </>
  );
  return (
    <>
      <PageHead title="Hosts" lead="Machines with an agent. An agent needs no open port: it connects to the control plane." actions={(ssh || join) && buttons} />
      <QueryFaces query={hosts} label="Loading the hosts" rows={2}>
        {(list) =>
          list.length === 0 ? (
            <Empty title="No host has joined yet">
              <p className="quiet">{join ? 'Add one: you get a command to paste on the machine whose databases Baton shall manage.' : 'Run the agent on the machine whose databases Baton shall manage. The control plane prints the one-use token.'}</p>
              {join ? <div style={{ display: 'flex', gap: 10, flexWrap: 'wrap' }}>{buttons}</div> : <Command value="baton agent --join TOKEN" prompt />}
            </Empty>
          ) : (
            <DataTable caption="Hosts with an agent" columns={columns} rows={list} keyOf={(h) => h.id ?? (h.agent || h.name)} testId={(h) => `host-${h.name}`} />
          )
        }
      </QueryFaces>
      <MachinesPanel />
      {open === 'join' && <JoinDialog onClose={() => setOpen(null)} />}
      {open === 'ssh' && <SshDialog onClose={() => setOpen(null)} />}
      {open !== null && typeof open === 'object' && <RemoveDialog host={open} onClose={() => setOpen(null)} />}
    </>
  );
}

/** Whether the agent's link stands, and how old its last word is. */
function Connected({ host: h }: { host: HostEntry }) {
  const stale = useStale(h.lastReport);
  const up = h.connected ?? !stale;
  return (
    <>
      <StatusBadge tone={up ? (stale ? 'unknown' : 'ok') : 'bad'}>{up ? (stale ? 'Silent' : 'Connected') : 'Not connected'}</StatusBadge>
      <Under>
        reported <Age at={h.lastReport} by={h.agent} sentence />
      </Under>
    </>
  );
}

/** Below these shares of free space the word changes, not only the color. */
const lowShare = 0.2;
const veryLowShare = 0.1;

function Disk({ host: h }: { host: HostEntry }) {
  const free = toNumber(h.disk?.free);
  const total = toNumber(h.disk?.total);
  if (free === null || total === null || total === 0) return <span className="faint">{unknown}</span>;
  const share = free / total;
  return (
    <Dated at={h.lastReport}>
      {share < lowShare ? <StatusBadge tone={share < veryLowShare ? 'bad' : 'warn'}>{bytes(free)} free</StatusBadge> : `${bytes(free)} free`}
      <Under>of {bytes(total)}</Under>
    </Dated>
  );
}

function RemoveDialog({ host: h, onClose }: { host: HostEntry; onClose: () => void }) {
  const remove = useChange(() => api.delete(path('hosts', h.id ?? h.agent)), keys.hosts);
  const n = (h.instances ?? []).length;
  return (
    <ActionDialog title={`Remove ${h.name}`} verb={`Remove ${h.name}`} danger typed={h.name} blocked={n > 0 ? `It still runs ${(h.instances ?? []).map((i) => i.node).join(', ')}. Remove those nodes first.` : null} cli={() => cli.removeHost(h.id ?? h.agent)} act={() => remove.mutateAsync(undefined)} onDone={onClose} onClose={onClose}>
      <p>Its agent is refused from now on. Nothing on the machine is stopped or deleted; join it again to bring it back.</p>
    </ActionDialog>
  );
}
