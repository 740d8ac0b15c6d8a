import { Button, TextInput } from '@mantine/core';
import { Link } from '@tanstack/react-router';
import { useRef, useState, type FormEvent } from 'react';
import type { ClusterDetail } from '../../api/types';
import { isLead, RoleBadge, StatusBadge } from '../../components/Badges';
import { Note } from '../../components/Faces';
import { TerminalLink, type Notice } from './link';
import { Screen } from './Screen';
import classes from './Terminal.module.css';

interface ViewProps {
  cluster: ClusterDetail;
  node: string;
  ticket: string;
  hostShell: boolean;
  onLeave: () => void;
}

const levelWords: Record<string, string> = { read: 'Reads only', write: 'May write', admin: 'May change everything' };

/** An open terminal: the banner with the node and its live role, and the screen. */
export function TerminalView({ cluster, node, ticket, hostShell, onLeave }: ViewProps) {
  const [hello, setHello] = useState<Notice | null>(null);
  const [mode, setMode] = useState<{ role: string; level: string }>({ role: cluster.nodes.find((n) => n.name === node)?.role ?? 'unknown', level: 'read' });
  const [warning, setWarning] = useState<string | null>(null);
  const [said, setSaid] = useState('');
  const [ended, setEnded] = useState<string | null>(null);
  const link = useRef<TerminalLink | null>(null);
  const leaving = useRef(false);
  const whole = useRef<HTMLElement>(null);

  const begin = (terminal: import('@xterm/xterm').Terminal) => {
    let why: string | null = null;
    const l = new TerminalLink(ticket, {
      onOutput: (bytes) => terminal.write(bytes, () => l.shown(bytes.length)),
      onNotice: (n) => {
        if (n.type === 'hello') {
          setHello(n);
          l.size(terminal.cols, terminal.rows);
          terminal.focus();
          // The focus brings the screen into sight, not what it belongs to.
          whole.current?.scrollIntoView?.({ block: 'start' });
        }
        if (n.type === 'hello' || n.type === 'mode') setMode({ role: n.role ?? 'unknown', level: n.level ?? 'read' });
        if (n.type === 'mode') setSaid(n.text ?? '');
        if (n.type === 'warning') setWarning(n.text ?? '');
        if (n.type === 'end') why = n.text ?? '';
      },
      onGone: () => {
        terminal.options.disableStdin = true;
        terminal.options.cursorBlink = false;
        setEnded(why ?? (leaving.current ? 'left' : 'the connection to the control plane ended'));
      },
    });
    link.current = l;
    terminal.onData((text) => {
      setWarning(null);
      l.type(text);
    });
    return () => l.close();
  };

  const level = hostShell ? 'admin' : mode.level;
  return (
    <section ref={whole} className={classes.whole} aria-label={`Terminal on ${node}`}>
      <div className={classes.banner} data-level={ended === null ? level : undefined} data-testid="terminal-banner" data-role={mode.role} data-mode={mode.level}>
        <span className={classes.who}>{node}</span>
        <RoleBadge role={mode.role} />
        <StatusBadge tone={level === 'read' ? 'ok' : 'warn'}>{hostShell ? `Shell of ${hello?.host || 'the host'}${hello?.user ? ` as ${hello.user}` : ''}` : (levelWords[mode.level] ?? mode.level)}</StatusBadge>
        {ended === null && <span className={classes.rec}>Recorded</span>}
        <span className={classes.end}>
          {ended === null && !hostShell && cluster.engine !== 'eventstore' && (mode.level === 'read' ? <AskToWrite node={node} lead={isLead(mode.role)} onAsk={(typed) => link.current?.write(typed)} /> : <Button size="xs" variant="default" onClick={() => link.current?.readOnly()}>Only read</Button>)}
          {ended === null ? (
            <Button
              size="xs"
              variant="default"
              data-after-terminal
              onClick={() => {
                leaving.current = true;
                link.current?.close();
              }}
            >
              End
            </Button>
          ) : (
            <Button size="xs" data-after-terminal onClick={onLeave}>
              Open another
            </Button>
          )}
        </span>
        <span className="visually-hidden" aria-live="polite">
          {said}
        </span>
      </div>
      <Screen label={`Terminal on ${node}. Shift F6 leaves it.`} tabLeaves={!hostShell} onReady={begin} onSize={(columns, rows) => link.current?.size(columns, rows)} />
      <p className={`faint ${classes.foot}`}>
        {hostShell ? 'Shift+F6 leaves the terminal by keyboard.' : 'Tab or Shift+F6 leaves the terminal by keyboard; :help shows what can be typed.'}
        {hello?.idleSeconds ? ` It ends after ${Math.round(hello.idleSeconds / 60)} minutes without a key pressed.` : ''}
      </p>
      {warning !== null && ended === null && (
        <Note tone="warn" title="Still there?">
          <p>{warning}</p>
        </Note>
      )}
      {ended !== null && (
        <div data-testid="terminal-ended">
          <Note tone={ended === 'left' ? 'ok' : 'unknown'} title={ended === 'left' ? 'You left this terminal' : `This terminal ended: ${ended}`}>
            {hello?.session && (
              <p>
                <Link to="/clusters/$id/terminal/$session" params={{ id: cluster.id, session: hello.session }}>
                  See its recording
                </Link>
              </p>
            )}
          </Note>
        </div>
      )}
    </section>
  );
}

/** Asks for the permission to write; the node's name makes sure which node it is for. */
function AskToWrite({ node, lead, onAsk }: { node: string; lead: boolean; onAsk: (typed: string) => void }) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState('');
  if (!open) {
    return (
      <Button size="xs" variant="default" onClick={() => setOpen(true)}>
        Allow writing…
      </Button>
    );
  }
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (typed !== node) return;
    onAsk(typed);
    setOpen(false);
    setTyped('');
  };
  return (
    <form onSubmit={submit} className={classes.buttons}>
      <TextInput size="xs" aria-label={`Type ${node} to allow writing`} placeholder={`Type ${node}`} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} autoFocus autoComplete="off" spellCheck={false} />
      <Button size="xs" type="submit" color="bad" disabled={typed !== node}>
        {lead ? 'Write to the primary' : 'Allow writing'}
      </Button>
      <Button size="xs" variant="subtle" color="gray" onClick={() => setOpen(false)}>
        Cancel
      </Button>
    </form>
  );
}
