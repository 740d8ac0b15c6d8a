import { Button, NativeSelect, TextInput } from '@mantine/core';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { troubleFrom, type Trouble } from '../../api/errors';
import type { ClusterDetail } from '../../api/types';
import { isLead } from '../../components/Badges';
import { CommandLine } from '../../components/Copy';
import { Empty, Note } from '../../components/Faces';
import { Choice } from '../../components/Fields';
import { Panel } from '../../components/Page';
import { cli } from '../../lib/cli';
import { useCluster } from '../clusters/queries';
import { sortNodes } from '../nodes/NodesTab';
import { may, useRole } from '../session/session';
import { askTicket, type TerminalKind } from './queries';
import { Sessions } from './Sessions';
import { TerminalView } from './TerminalView';
import classes from './Terminal.module.css';

const route = getRouteApi('/shell/clusters/$id');

type Wanted = 'read' | 'write' | 'admin' | 'os';

const kindOf: Record<Wanted, { kind: TerminalKind; write: boolean }> = {
  read: { kind: 'engine', write: false },
  write: { kind: 'engine', write: true },
  admin: { kind: 'admin', write: false },
  os: { kind: 'os', write: false },
};

/** Terminals of a cluster: one to open, those that are open, those before. */
export function TerminalTab() {
  const { id } = route.useParams();
  const { data: c } = useCluster(id);
  if (!c) return null;
  if (c.nodes.length === 0) {
    return (
      <Empty title="No node has reported yet">
        <p className="quiet">A terminal is carried by the agent on a node’s host; it can be opened as soon as the agent connects.</p>
      </Empty>
    );
  }
  return <Body cluster={c} />;
}

interface Opened {
  ticket: string;
  node: string;
  wanted: Wanted;
  /** Counts terminals, so that each has a screen of its own. */
  turn: number;
}

function Body({ cluster: c }: { cluster: ClusterDetail }) {
  const search = route.useSearch();
  const navigate = useNavigate();
  const role = useRole();
  const nodes = sortNodes(c.nodes);
  const node = nodes.find((n) => n.name === search.on) ?? nodes[0];
  const [wanted, setWanted] = useState<Wanted>('read');
  const [opened, setOpened] = useState<Opened | null>(null);
  if (!node) return null;
  if (opened) {
    return (
      <>
        <TerminalView key={opened.turn} cluster={c} node={opened.node} ticket={opened.ticket} hostShell={opened.wanted === 'os'} onLeave={() => setOpened(null)} />
        <Sessions cluster={c.id} />
      </>
    );
  }
  return (
    <>
      {may.operate(role) ? (
        <OpenForm
          cluster={c}
          node={node.name}
          wanted={wanted}
          onNode={(on) => void navigate({ to: '.', search: (old) => ({ ...old, on }), replace: true, resetScroll: false })}
          onWanted={setWanted}
          onOpen={(ticket) => setOpened((old) => ({ ticket, node: node.name, wanted, turn: (old?.turn ?? 0) + 1 }))}
        />
      ) : (
        <Note tone="unknown" title="Your role cannot open terminals">
          <p>Operators open the engine’s shell; administrators also shells of hosts.</p>
        </Note>
      )}
      <Sessions cluster={c.id} />
    </>
  );
}

interface OpenProps {
  cluster: ClusterDetail;
  node: string;
  wanted: Wanted;
  onNode: (node: string) => void;
  onWanted: (wanted: Wanted) => void;
  onOpen: (ticket: string) => void;
}

function OpenForm({ cluster: c, node, wanted, onNode, onWanted, onOpen }: OpenProps) {
  const role = useRole();
  const admin = may.administer(role);
  const engine = c.engine === 'eventstore' ? 'event store' : 'Redis';
  const writes = c.engine !== 'eventstore';
  const [typed, setTyped] = useState('');
  const [reason, setReason] = useState('');
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const [asking, setAsking] = useState(false);
  const chosen = c.nodes.find((n) => n.name === node);
  const lead = chosen !== undefined && isLead(chosen.role);
  const mustType = lead && wanted !== 'read';
  const options: { value: Wanted; title: string; consequence: string }[] = [
    { value: 'read', title: 'Engine shell, reading', consequence: `Commands of the ${engine} that change nothing. Passwords in answers are hidden.` },
    ...(writes ? [{ value: 'write' as const, title: 'Engine shell, writing', consequence: 'Commands may change data; each is in the audit before it is carried out.' }] : []),
    ...(writes && admin ? [{ value: 'admin' as const, title: 'Engine shell, admin', consequence: 'Also commands that change the server or all data at once; those ask for the node’s name.' }] : []),
    ...(admin ? [{ value: 'os' as const, title: 'Shell of the host', consequence: 'A shell of the operating system, as the user the agent runs as.' }] : []),
  ];
  const off = mustType && typed !== node ? (typed === '' ? `${node} is the ${chosen?.role ?? 'primary'}: type its name.` : `That is not ${node}.`) : null;
  const open = async (event: FormEvent) => {
    event.preventDefault();
    if (off !== null || asking) return;
    setAsking(true);
    setTrouble(null);
    try {
      onOpen((await askTicket({ cluster: c.id, node, columns: 80, rows: 24, ...kindOf[wanted], typedName: typed || undefined, reason: reason.trim() || undefined })).ticket);
    } catch (error) {
      setTrouble(troubleFrom(error));
    } finally {
      setAsking(false);
    }
  };
  return (
    <Panel title="Open a terminal" lead="It goes through the node’s agent; no port is opened. Everything shown is recorded.">
      <form onSubmit={(e) => void open(e)} className={classes.open} data-testid="open-terminal">
        <NativeSelect label="Node" value={node} onChange={(e) => onNode(e.currentTarget.value)} data={sortNodes(c.nodes).map((n) => ({ value: n.name, label: `${n.name}, ${n.role}` }))} />
        <Choice label="What for" value={wanted} onChange={onWanted} options={options} />
        <TextInput label="Reason" description="Optional; the audit keeps it." name="reason" maxLength={500} value={reason} onChange={(e) => setReason(e.currentTarget.value)} />
        {mustType && (
          <TextInput label={`Type ${node} to confirm`} name="typed-name" data-testid="typed-name" autoComplete="off" autoCapitalize="off" spellCheck={false} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} />
        )}
        {trouble && (
          <Note tone="bad" title={trouble.title}>
            {trouble.detail && <p>{trouble.detail}</p>}
            {trouble.fix && <p>{trouble.fix}</p>}
          </Note>
        )}
        <div className={classes.buttons}>
          <Button type="submit" disabled={off !== null} loading={asking} color={wanted === 'read' ? undefined : 'bad'}>
            Open terminal
          </Button>
          <span className="faint" aria-live="polite">
            {off ?? ''}
          </span>
        </div>
        <CommandLine value={cli.terminal(c.id, node, { ...(wanted !== 'read' && { [wanted]: true }), confirm: mustType ? node : null, reason: reason.trim() })} />
      </form>
    </Panel>
  );
}

/** Leads to the terminal of a node. */
export function TerminalLinkButton({ cluster, node }: { cluster: string; node: string }) {
  return (
    <Button component={Link} variant="default" {...({ to: '/clusters/$id/terminal', params: { id: cluster }, search: { on: node } } as object)}>
      Open a terminal
    </Button>
  );
}
