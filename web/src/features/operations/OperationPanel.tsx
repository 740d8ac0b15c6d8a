import { Button, CloseButton } from '@mantine/core';
import { IconArrowBackUp, IconArrowRight, IconLoader2 } from '@tabler/icons-react';
import { Link } from '@tanstack/react-router';
import { has } from '../../api/capabilities';
import { api, path } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { isOver } from '../../api/merge';
import { useChange } from '../../api/query';
import type { Operation } from '../../api/types';
import { Age } from '../../components/Age';
import { RoleBadge, ToneIcon } from '../../components/Badges';
import { Command, CopyCommand } from '../../components/Copy';
import { ErrorFace, Loading } from '../../components/Faces';
import { useTrouble } from '../../components/QueryFaces';
import { useNow } from '../../lib/clock';
import { cli } from '../../lib/cli';
import { ageMs, count, dateTime, group, milliseconds, sentenceCase, toNumber } from '../../lib/format';
import { sourcePhrase } from '../audit/outcome';
import { mayPromote, useSession } from '../session/session';
import classes from './OperationPanel.module.css';
import { headline, movesPrimary, roleChanges, side, stateTone, stateWord } from './operation';
import { useOperation } from './queries';
import { StallCounter } from './StallCounter';
import { Steps } from './Steps';
import stepClasses from './Steps.module.css';

interface PanelProps {
  id: string;
  cluster: string;
  onClose?: () => void;
  onSwitchBack: (node: string) => void;
}

/** One operation: while it runs its steps and the stall, afterwards its result, the proof and the way back. */
export function OperationPanel({ id, onClose, onSwitchBack }: PanelProps) {
  const operation = useOperation(id);
  const trouble = useTrouble(operation);
  if (trouble) return <ErrorFace trouble={trouble} retrying={operation.isFetching} onRetry={() => void operation.refetch()} />;
  if (operation.data === undefined) return <Loading rows={1} height={240} label="Loading the operation" />;
  const op = operation.data;
  const over = isOver(op.state);
  return (
    <section className={`card ${classes.panel}`} data-tone={over ? stateTone[op.state] : 'baton'} aria-label={headline(op)} data-testid="operation" data-state={op.state}>
      <div className={classes.summary}>
        <div className={classes.headline}>
          {over ? <ToneIcon tone={stateTone[op.state]} size={28} /> : <IconLoader2 size={28} className={stepClasses.spin} color="var(--baton-text)" aria-hidden />}
          <div>
            <h1 aria-live="polite">{headline(op)}</h1>
            <p className="quiet">{over && op.outcome ? sentenceCase(op.outcome) : side(op).sentence}</p>
          </div>
          {onClose && over && <CloseButton onClick={onClose} aria-label="Close the result" />}
        </div>
        {(movesPrimary(op) || op.stall || op.proof) && (
          <div className={classes.stats}>
            <StallCounter op={op} />
            <Loss op={op} />
          </div>
        )}
        {over && movesPrimary(op) && <Roles op={op} />}
        {over && <After op={op} onSwitchBack={onSwitchBack} />}
        <p className={classes.meta}>
          {stateWord[op.state]} · asked for by <strong>{op.requester}</strong> {sourcePhrase[op.source] ?? op.source} <Age at={op.startedAt} sentence event />
          {op.reason && <> · “{op.reason}”</>}
        </p>
        {!over && <Cancel op={op} />}
        {over && movesPrimary(op) && has('GET /clusters/{id}/incidents/{operation}') && (
          <Link to="/clusters/$id/incidents/$op" params={{ id: op.cluster, op: op.id }}>
            Timeline: what happened around it
          </Link>
        )}
        <Command value={cli.watch(op.id)} prompt label="Copy the command that follows this operation" />
      </div>
      <div className={classes.steps}>
        <h2 className="section-title">
          Steps
          {op.endedAt && <span className={`num ${classes.took}`}>{milliseconds(ageMs(op.startedAt, Date.parse(op.endedAt)))} in all</span>}
        </h2>
        <Steps steps={op.steps} past={op.pastPointOfNoReturn || op.state === 'done'} />
      </div>
    </section>
  );
}

function Loss({ op }: { op: Operation }) {
  const over = isOver(op.state);
  if (!op.proof) {
    return (
      <div className={classes.stat}>
        <span className={classes.statLabel}>Acknowledged writes lost</span>
        <span className={classes.statValue}>{over ? 'Not measured' : '–'}</span>
        <span className={classes.statNote}>{over ? 'no probe result was recorded' : 'known once the probe’s writes are read back'}</span>
      </div>
    );
  }
  const lost = toNumber(op.proof.lost);
  return (
    <div className={classes.stat} data-phase={lost !== null && lost > 0 ? 'lost' : 'after'}>
      <span className={classes.statLabel}>Acknowledged writes lost</span>
      <span className={`num ${classes.statValue}`}>{lost !== null ? group(op.proof.lost) : /at most/.test(op.proof.sentence) ? 'Bounded' : 'Not known'}</span>
      <span className={classes.statNote}>
        {sentenceCase(op.proof.sentence) || `${group(op.proof.acked)} acknowledged, ${group(op.proof.readBack)} read back`}
      </span>
    </div>
  );
}

function Roles({ op }: { op: Operation }) {
  const all = roleChanges(op);
  if (all.length === 0) return null;
  const changes = all.filter((r) => r.changed);
  const kept = all.length - changes.length;
  if (changes.length === 0) return <p className="quiet">All nodes kept their roles.</p>;
  return (
    <table className={classes.roles}>
      <caption className="visually-hidden">Roles before and after</caption>
      <thead>
        <tr>
          <th scope="col">Node</th>
          <th scope="col">Before</th>
          <th aria-hidden="true" />
          <th scope="col">After</th>
        </tr>
      </thead>
      <tbody>
        {changes.map((r) => (
          <tr key={r.node}>
            <th scope="row">{r.node}</th>
            <td>
              <RoleBadge role={r.before} />
            </td>
            <td className="faint">
              <IconArrowRight size={15} aria-label="became" />
            </td>
            <td>
              <RoleBadge role={r.after} />
            </td>
          </tr>
        ))}
        {kept > 0 && (
          <tr className={classes.kept}>
            <td colSpan={4}>{count(kept, 'other node')} kept {kept === 1 ? 'its role' : 'their roles'}.</td>
          </tr>
        )}
      </tbody>
    </table>
  );
}

/** Takes a running operation back while that is possible. */
function Cancel({ op }: { op: Operation }) {
  const session = useSession();
  const cancel = useChange(() => api.post(path('operations', op.id, 'cancel')), keys.operation(op.id));
  if (!has('POST /operations/{id}/cancel') || !mayPromote(session.data?.role)) return null;
  return (
    <div className={classes.after}>
      <Button variant="default" disabled={op.pastPointOfNoReturn} loading={cancel.isPending} onClick={() => cancel.mutate(undefined)}>
        Cancel and take back
      </Button>
      {!op.pastPointOfNoReturn && <CopyCommand value={cli.cancelOperation(op.id)} />}
      <span className="quiet" aria-live="polite">
        {cancel.error ? troubleFrom(cancel.error).title : op.pastPointOfNoReturn ? 'Too late: it is past the point of no return.' : op.steps.some((s) => s.pointOfNoReturn) ? 'Possible until the point of no return.' : 'What was done so far is taken back.'}
      </span>
    </div>
  );
}

function After({ op, onSwitchBack }: { op: Operation; onSwitchBack: (node: string) => void }) {
  const session = useSession();
  const now = useNow();
  if (!op.undo) return null;
  const left = op.undo.until ? Date.parse(op.undo.until) - now : null;
  const open = op.undo.available && (left === null || left > 0);
  return (
    <div className={classes.after}>
      <Button variant="default" leftSection={<IconArrowBackUp size={16} />} disabled={!open || !mayPromote(session.data?.role)} onClick={() => onSwitchBack(op.undo?.node || op.from)}>
        Switch back
      </Button>
      <span className="quiet">
        {open
          ? `${op.undo.node || op.from} leads again, with the same checks and no loss.${op.undo.until ? ` Offered until ${dateTime(op.undo.until).slice(11, 16)}.` : ''}`
          : op.undo.why || 'No longer offered.'}
      </span>
    </div>
  );
}
