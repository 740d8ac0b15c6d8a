import { Button, Modal, TextInput } from '@mantine/core';
import { useMediaQuery } from '@mantine/hooks';
import { IconFlask, IconRefresh } from '@tabler/icons-react';
import { useEffect, useId, useRef, useState, type FormEvent, type ReactNode } from 'react';
import { has } from '../../api/capabilities';
import { troubleFrom, type Trouble } from '../../api/errors';
import type { ClusterDetail, Plan, Report } from '../../api/types';
import { Age } from '../../components/Age';
import { Command } from '../../components/Copy';
import { ErrorFace, Loading, Note } from '../../components/Faces';
import { intoSight } from '../../components/intoSight';
import { BatonGlyph } from '../../components/Logo';
import { Pills } from '../../components/Page';
import { Stale, useTrouble } from '../../components/QueryFaces';
import { useReturnFocus } from '../../components/returnFocus';
import { useNow } from '../../lib/clock';
import { ageMs, count, dateTime, milliseconds, sentenceCase, toNumber } from '../../lib/format';
import { cli } from '../../lib/cli';
import { leadWord } from '../clusters/engine';
import { bareReason, changedChecks, tallyChecks } from '../report/report';
import { ReportList } from '../report/ReportList';
import { useClusterSettings } from '../settings/queries';
import { mayPromote, useSession } from '../session/session';
import { PlanSteps } from './PlanSteps';
import { cliLine, overridable, whyNotThen, whyNotYet } from './promote';
import classes from './PromoteDialog.module.css';
import { usePlan, usePromotion } from './queries';

interface DialogProps {
  cluster: ClusterDetail;
  node: string;
  /** The operation that this promotion takes back, if any. */
  undoOf: string | null;
  onClose: () => void;
  onStarted: (operation: string) => void;
}

/** Report, plan, consequence, reason, typed name: in this order, then Promote or a dry run. */
export function PromoteDialog({ cluster, node, undoOf, onClose, onStarted }: DialogProps) {
  const small = useMediaQuery('(max-width: 700px)');
  useReturnFocus();
  return (
    <Modal
      opened
      onClose={onClose}
      size={1120}
      fullScreen={small}
      radius={small ? 0 : 14}
      padding={0}
      title={
        <span className={classes.title}>
          <BatonGlyph size={22} />
          {undoOf ? `Switch back to ${node}` : `Promote ${node}`}
          <span className={classes.of}>in {cluster.name}</span>
        </span>
      }
      closeButtonProps={{ 'aria-label': 'Close without promoting' }}
      classNames={{ header: classes.header, body: classes.modalBody }}
    >
      {/* The dialog begins with reading: nothing that acts has the focus. */}
      <div tabIndex={-1} data-autofocus className={classes.start}>
        <Content cluster={cluster} node={node} undoOf={undoOf} onStarted={onStarted} />
      </div>
    </Modal>
  );
}

function Content({ cluster, node, undoOf, onStarted }: Omit<DialogProps, 'onClose'>) {
  const session = useSession();
  const needsApproval = useClusterSettings(cluster.id).data?.policy.approval === true;
  const promotion = usePromotion(cluster.id, undoOf);
  const [overrides, setOverrides] = useState<readonly string[]>([]);
  const plan = usePlan(cluster.id, node, overrides, promotion.isPending);
  const now = useNow();
  const [typedName, setTypedName] = useState('');
  const [reason, setReason] = useState('');
  const [trouble, setTrouble] = useState<Trouble | null>(null);
  const [rehearsal, setRehearsal] = useState<Plan | null>(null);
  const [scheduled, setScheduled] = useState(false);
  const [time, setTime] = useState('');
  const at = scheduled ? time : '';
  const [waiting, setWaiting] = useState<'scheduled' | 'approval' | null>(null);
  const rehearse = useRef<HTMLButtonElement>(null);
  // A button that is off while it works loses the focus.
  const rehearsed = rehearsal !== null;
  useEffect(() => {
    if (rehearsed && !promotion.isPending && document.activeElement === document.body) rehearse.current?.focus();
  }, [rehearsed, promotion.isPending]);
  const changed = useChanged(plan.data?.report ?? null);

  const unplanned = useTrouble(plan);
  if (unplanned) {
    return (
      <div className={classes.pad}>
        <ErrorFace trouble={unplanned} retrying={plan.isFetching} onRetry={() => void plan.refetch()} />
      </div>
    );
  }
  if (plan.data === undefined) {
    return (
      <div className={classes.pad}>
        <Loading rows={6} height={44} label={`Checking whether ${node} can be promoted`} />
      </div>
    );
  }
  const p = plan.data;
  const allowed = mayPromote(session.data?.role);
  const blocked = whyNotYet({ plan: p, typedName, overrides, reason, busy: promotion.isPending || plan.isPlaceholderData, reportAgeMs: ageMs(p.report.at, now), allowed });

  /** The field says so itself. */
  const wrongName = typedName !== '' && !node.startsWith(typedName);
  const mayLater = undoOf === null && has('GET /clusters/{id}/schedules');
  const later = scheduled && at === '' ? 'Give the time.' : whyNotThen(at, now);

  const send = (dryRun: boolean) => {
    setTrouble(null);
    setRehearsal(null);
    promotion.mutate(
      {
        node: p.node,
        typedName: dryRun ? p.node : typedName,
        reportHash: p.report.hash,
        generation: p.generation,
        ...(reason.trim() === '' ? {} : { reason: reason.trim() }),
        ...(overrides.length > 0 ? { overrides: [...overrides] } : {}),
        ...(dryRun ? { dryRun: true } : at !== '' ? { at: new Date(at).toISOString() } : {}),
      },
      {
        onSuccess: (answer) => {
          if (dryRun) setRehearsal(answer.plan ?? p);
          else if (answer.state === 'awaiting-approval' || answer.approvalId) setWaiting('approval');
          else if (answer.scheduleId) setWaiting('scheduled');
          else if (answer.operationId) onStarted(answer.operationId);
        },
        onError: (error) => {
          const t = troubleFrom(error);
          setTrouble(t);
          // A refusal that is about what was seen: show what is true now.
          if (t.status === 409) void plan.refetch();
        },
      },
    );
  };
  const submit = (event: FormEvent) => {
    event.preventDefault();
    if (blocked === null && later === null) send(false);
  };
  if (waiting !== null) {
    return (
      <div className={classes.pad}>
        <Note tone="ok" title={waiting === 'approval' ? 'Asked for. It waits for a second person.' : `Scheduled for ${dateTime(new Date(at).toISOString())}`}>
          <p>
            {waiting === 'approval' ? 'It runs once another operator or an approver agrees; every check is made again then. It stands under Approvals.' : 'Every check is made again at that time; if one refuses, nothing is changed and the audit says why. It stands on the Nodes page, where it can be cancelled.'}
          </p>
        </Note>
      </div>
    );
  }
  const from = cluster.primary?.node;
  const t = tallyChecks(p.report.checks);
  return (
    <form className={classes.grid} onSubmit={submit} data-testid="promote-dialog">
      <div className={classes.read}>
        {plan.isError && <Stale since={plan.dataUpdatedAt} why={troubleFrom(plan.error).title} />}
        <Section
          no={1}
          title="Report"
          aside={
            <>
              {[t.refuse && `${t.refuse} refuse${t.refuse === 1 ? 's' : ''}`, t.unknown && `${t.unknown} unknown`, t.warn && count(t.warn, 'warning'), `${t.pass} pass`].filter(Boolean).join(', ')}
              {' · checked '}
              <Age at={p.report.at} sentence event />
              <Button variant="subtle" size="compact-xs" leftSection={<IconRefresh size={13} />} loading={plan.isFetching} onClick={() => void plan.refetch()}>
                Check again
              </Button>
            </>
          }
        >
          <div className={`card ${classes.flat}`}>
            <ReportList checks={p.report.checks} changed={changed} />
          </div>
        </Section>
        {p.steps.length > 0 && (
          <Section no={2} title="Plan" aside={p.refused ? 'what would run once the checks pass' : 'exactly what will run'}>
            <PlanSteps steps={p.steps} />
          </Section>
        )}
      </div>
      <div className={classes.side} data-refused={p.refused || undefined}>
      <div className={classes.decide}>
        {p.refused ? (
          <Refused plan={p} mayOverride={allowed && undoOf === null} onOverride={setOverrides} />
        ) : (
          <>
            {overrides.length > 0 && (
              <Note tone="warn" title={`Set aside: ${overrides.join(', ')}`}>
                <p>You promote although {overrides.length === 1 ? 'this check refuses' : 'these checks refuse'}. The audit keeps your name and reason.</p>
                <Button variant="default" size="xs" mt={8} onClick={() => setOverrides([])}>
                  Count {overrides.length === 1 ? 'it' : 'them'} again
                </Button>
              </Note>
            )}
            <Section no={3} title="What to expect">
              <Expect plan={p} node={node} from={from} lead={leadWord(cluster.engine)} />
            </Section>
            <Section no={4} title="Reason" aside={overrides.length > 0 ? 'needed, kept in the audit' : 'optional, kept in the audit'}>
              <TextInput
                aria-label="Reason"
                placeholder="Kernel update on the present primary’s host"
                maxLength={500}
                value={reason}
                onChange={(e) => setReason(e.currentTarget.value)}
                onKeyDown={(e) => {
                  // Only the field with the name, or the button, promotes.
                  if (e.key === 'Enter') e.preventDefault();
                }}
              />
            </Section>
            {mayLater && (
              <Section no={5} title="When" aside={scheduled ? 'checked again at that time' : undefined}>
                <Pills label="When" value={scheduled ? 'later' : 'now'} onChange={(v) => setScheduled(v === 'later')} options={[{ value: 'now', label: 'At once' }, { value: 'later', label: 'At a set time' }]} />
                {scheduled && <TextInput type="datetime-local" aria-label="Time, on this computer’s clock" value={time} error={later} onChange={(e) => setTime(e.currentTarget.value)} />}
              </Section>
            )}
            {needsApproval && (
              <Note tone="unknown" title="This cluster asks for a second person">
                <p>Your request waits until another operator or an approver agrees. Nothing runs before.</p>
              </Note>
            )}
            <Section no={mayLater ? 6 : 5} title="Confirm">
              <TextInput
                label={
                  <>
                    Type <code className={classes.toType}>{node}</code> to confirm
                  </>
                }
                name="typed-name"
                data-testid="typed-name"
                autoComplete="off"
                autoCorrect="off"
                autoCapitalize="off"
                spellCheck={false}
                disabled={!allowed}
                value={typedName}
                error={trouble?.code === 'typed-name-mismatch' ? trouble.detail || trouble.title : wrongName ? `That is not ${node}.` : null}
                onChange={(e) => {
                  setTypedName(e.currentTarget.value);
                  if (trouble?.code === 'typed-name-mismatch') setTrouble(null);
                }}
              />
            </Section>
          </>
        )}
        {!p.refused && (
          <div className={classes.buttons}>
            <Button type="submit" size="md" disabled={blocked !== null || later !== null} loading={promotion.isPending && !promotion.variables?.dryRun} data-testid="promote">
              {undoOf ? 'Switch back' : scheduled ? 'Schedule' : needsApproval ? 'Ask to promote' : 'Promote'} {node}
            </Button>
            <Button ref={rehearse} variant="default" size="md" leftSection={<IconFlask size={17} />} onClick={() => send(true)} disabled={!allowed || promotion.isPending} loading={promotion.isPending && !!promotion.variables?.dryRun} data-testid="dry-run">
              Dry run
            </Button>
            <p className={classes.blocked} aria-live="polite">
              {wrongName ? ' ' : (blocked ?? ' ')}
            </p>
          </div>
        )}
        {trouble && trouble.code !== 'typed-name-mismatch' && (
          <div ref={intoSight} tabIndex={-1} className={classes.answer}>
            <Refusal trouble={trouble} onShow={onStarted} />
          </div>
        )}
        {rehearsal && (
          <div ref={intoSight}>
            <Note tone={rehearsal.refused ? 'bad' : 'ok'} title={rehearsal.refused ? 'Dry run: it would be refused' : 'Dry run passed. Nothing was changed.'}>
              <p>{rehearsal.refused ? 'The report says why.' : `${count(rehearsal.steps.length, 'step')} would run. Each step is checked again when it counts, and rolled back if it fails.`}</p>
            </Note>
          </div>
        )}
        <div className={classes.cli}>
          <span className="faint">{p.refused ? 'The report on the command line' : 'The same from the command line'}</span>
          <Command value={p.refused ? cli.explain(cluster.id, node) : cliLine(p, cluster.id, reason, undoOf, overrides, at !== '' && later === null ? new Date(at).toISOString() : '')} prompt label="Copy as command line" />
        </div>
      </div>
      </div>
    </form>
  );
}

function Section({ no, title, aside, children }: { no: number; title: string; aside?: ReactNode; children: ReactNode }) {
  const id = useId();
  return (
    <section className={classes.section} aria-labelledby={id}>
      <div className={classes.sectionHead}>
        <span className={classes.no} aria-hidden="true">
          {no}
        </span>
        <h2 id={id} className="section-title">
          {title}
        </h2>
        {aside && <span className={classes.aside}>{aside}</span>}
      </div>
      {children}
    </section>
  );
}

function Expect({ plan: p, node, from, lead }: { plan: Plan; node: string; from: string | undefined; lead: string }) {
  const stall = toNumber(p.expectedStallMs);
  const catchUp = toNumber(p.catchUpMs) ?? 0;
  return (
    <div className={classes.expect}>
      <p>
        {from && from !== node ? (
          <>
            <strong>{node}</strong> becomes the {lead}; <strong>{from}</strong> steps down and follows it.
          </>
        ) : (
          <>
            <strong>{node}</strong> becomes the {lead}.
          </>
        )}
        {catchUp > 0 && ` It catches up first, for about ${milliseconds(catchUp)}; writes go on meanwhile.`}
      </p>
      <dl>
        <div>
          <dt>Writes pause for about</dt>
          <dd className={classes.stall}>{stall === null ? 'unknown' : milliseconds(stall)}</dd>
          {toNumber(p.stallBudgetMs) !== null && <dd className={classes.small}>At most {milliseconds(p.stallBudgetMs)}: after that it rolls back by itself.</dd>}
        </div>
        <div>
          <dt>May lose</dt>
          <dd className={classes.loss}>{sentenceCase(p.possibleLoss || 'unknown')}</dd>
        </div>
      </dl>
    </div>
  );
}

function Refused({ plan: p, mayOverride, onOverride }: { plan: Plan; mayOverride: boolean; onOverride: (checks: readonly string[]) => void }) {
  const refusals = p.refusals;
  const aside = mayOverride ? overridable(p) : [];
  return (
    <div className={classes.refused} data-testid="refused">
      <Note tone="bad" title={`${p.node} cannot be promoted now`}>
        <p>{sentenceCase(bareReason(p.report.reason) || 'its checks refuse. Nothing was changed.')}</p>
      </Note>
      {refusals.length > 0 && (
        <ol className={classes.repairs}>
          {refusals.map((r) => (
            <li key={`${r.code} ${r.detail}`}>
              <strong>{sentenceCase(r.title)}</strong>
              {r.detail && <p className="quiet">{sentenceCase(r.detail)}</p>}
              {r.fix && (
                <p>
                  <strong>Repair:</strong> {sentenceCase(r.fix)}
                </p>
              )}
            </li>
          ))}
        </ol>
      )}
      {aside.length > 0 && (
        <div className={classes.aside2}>
          <p>Your role may set {aside.length === 1 ? 'this check' : 'these checks'} aside. It needs a reason, and the audit keeps both.</p>
          <Button variant="default" onClick={() => onOverride(aside)}>
            Set aside {aside.join(', ')}
          </Button>
        </div>
      )}
      <p className="quiet">The report is measured again every ten seconds; this page changes by itself once the checks pass.</p>
    </div>
  );
}

function Refusal({ trouble: t, onShow }: { trouble: Trouble; onShow: (operation: string) => void }) {
  if (t.code === 'stale-report') {
    return (
      <Note tone="warn" title="The report changed while you read it">
        <p>The fresh one is shown; changed checks are marked. Nothing was changed. Look again, then promote.</p>
      </Note>
    );
  }
  return (
    <Note tone="bad" title={t.title}>
      {t.detail && <p>{t.detail}</p>}
      {t.fix && <p>{t.fix}</p>}
      {t.operationId && (
        <Button variant="default" size="xs" mt={8} onClick={() => onShow(t.operationId!)}>
          Show the running operation
        </Button>
      )}
    </Note>
  );
}

/** Which checks changed at the last refresh; the mark stays until the next change. */
function useChanged(report: Report | null): ReadonlySet<string> {
  const before = useRef<Report | null>(null);
  const [changed, setChanged] = useState<ReadonlySet<string>>(new Set());
  useEffect(() => {
    const now = changedChecks(before.current, report);
    before.current = report;
    if (now.size > 0) setChanged(now);
  }, [report]);
  return changed;
}
