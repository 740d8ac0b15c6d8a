import { Button } from '@mantine/core';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import type { Machine, ProviderAccount } from '../../api/types';
import { Age } from '../../components/Age';
import { StatusBadge } from '../../components/Badges';
import { DataTable, Under, type Column } from '../../components/DataTable';
import { Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { unknown } from '../../lib/format';
import { may, useRole } from '../session/session';
import { AddAccountDialog, RemoveAccountDialog } from './AccountDialogs';
import classes from './HostsPage.module.css';
import { moves, progress, providerTitle, steps } from './machine';
import { DeleteMachineDialog, NewMachineDialog } from './MachineDialogs';
import { useAccounts, useMachines } from './queries';

type Open = 'account' | 'machine' | { forget: ProviderAccount } | { remove: Machine } | null;

/** Machines made at providers: the accounts, what was asked for, and how far each is. */
export function MachinesPanel() {
  const role = useRole();
  const admin = may.administer(role);
  const accounts = useAccounts(may.operate(role));
  const machines = useMachines(has('GET /machines'));
  const [open, setOpen] = useState<Open>(null);
  if (!has('GET /machines') || !has('GET /provider-accounts')) return null;
  const list = accounts.data?.accounts ?? [];
  // Deleted ones are the audit's.
  const there = (machines.data ?? []).filter((m) => m.state !== 'deleted');
  // Without rights and without machines there is nothing to say.
  if (!may.operate(role) && there.length === 0) return null;
  const columns: Column<Machine>[] = [
    {
      head: 'Machine',
      cell: (m) => (
        <>
          {m.name}
          <Under>{m.providerId ? `${m.account}, ${m.providerId}` : m.account}</Under>
        </>
      ),
    },
    { head: 'State', kind: 'wide', cell: (m) => <Progress machine={m} /> },
    {
      head: 'Size and place',
      cell: (m) => (
        <>
          {m.size}
          <Under>{m.location}</Under>
        </>
      ),
    },
    { head: 'Address', cell: (m) => m.address || <span className="faint">{unknown}</span> },
    {
      head: 'Asked',
      kind: 'num',
      cell: (m) => (
        <>
          <Age at={m.at} event sentence />
          <Under>by {m.by}</Under>
        </>
      ),
    },
    {
      head: 'Actions',
      kind: 'actions',
      cell: (m) =>
        admin && has('POST /machines/{id}/delete') && !moves(m) ? (
          <Button size="xs" variant="subtle" color="bad" onClick={() => setOpen({ remove: m })} aria-label={`Delete the machine ${m.name}`}>
            Delete
          </Button>
        ) : null,
    },
  ];
  return (
    <div className={classes.machines}>
      <Panel
        title="Machines from a provider"
        lead="Rented with one of your accounts; each joins by itself and is then a host like any other."
        aside={
          admin && (
            <span className={classes.buttons}>
              <Button variant="default" size="xs" onClick={() => setOpen('account')}>
                Add an account
              </Button>
              {list.length > 0 && (
                <Button size="xs" onClick={() => setOpen('machine')}>
                  New machine
                </Button>
              )}
            </span>
          )
        }
      >
        {may.operate(role) && (
          <QueryFaces query={accounts} label="Loading the provider accounts" rows={1}>
            {(a) =>
              a.accounts.length === 0 ? (
                <p className="quiet">{admin ? 'There is no account yet. Add one with a token of the provider’s API, and machines can be made here.' : 'There is no account yet; an administrator can add one.'}</p>
              ) : (
                <ul className={classes.accounts} aria-label="Provider accounts">
                  {a.accounts.map((x) => (
                    <li key={x.name} data-testid={`account-${x.name}`}>
                      <span>
                        <strong>{x.name}</strong> <span className="faint">{providerTitle(x.kind)}</span>
                        <Under>
                          added <Age at={x.at} event sentence /> by {x.by}
                          {x.endpoint && `, at ${x.endpoint}`}
                        </Under>
                      </span>
                      {admin && (
                        <Button size="xs" variant="subtle" color="bad" onClick={() => setOpen({ forget: x })} aria-label={`Forget the account ${x.name}`}>
                          Forget
                        </Button>
                      )}
                    </li>
                  ))}
                </ul>
              )
            }
          </QueryFaces>
        )}
        {(there.length > 0 || machines.isError) && (
          <QueryFaces query={machines} label="Loading the machines" rows={2}>
            {() => <DataTable caption="Machines that were asked for" columns={columns} rows={there} keyOf={(m) => m.id} testId={(m) => `machine-${m.name}`} />}
          </QueryFaces>
        )}
      </Panel>
      {open === 'account' && <AddAccountDialog onClose={() => setOpen(null)} />}
      {open === 'machine' && <NewMachineDialog accounts={list} onClose={() => setOpen(null)} />}
      {open !== null && typeof open === 'object' && 'forget' in open && <RemoveAccountDialog account={open.forget} onClose={() => setOpen(null)} />}
      {open !== null && typeof open === 'object' && 'remove' in open && <DeleteMachineDialog machine={open.remove} onClose={() => setOpen(null)} />}
    </div>
  );
}

/** How far a machine is: a word, its steps while it is made, and what it waits for or why it failed. */
function Progress({ machine: m }: { machine: Machine }) {
  const p = progress(m);
  return (
    <span data-state={m.state}>
      <StatusBadge tone={p.tone}>{p.word}</StatusBadge>
      {p.over !== null && (
        <span className={classes.steps} role="img" aria-label={`${p.over} of ${steps.length} steps are over`}>
          {steps.map((s, i) => (
            <span key={s.step} data-over={i < (p.over ?? 0) || undefined} data-now={i === p.over || undefined} title={s.doing} />
          ))}
        </span>
      )}
      {p.detail && <Under>{p.detail}</Under>}
    </span>
  );
}
