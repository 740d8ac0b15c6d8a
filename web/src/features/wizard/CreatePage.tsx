import { Button, Switch, Textarea, TextInput } from '@mantine/core';
import { IconMinus, IconPlus } from '@tabler/icons-react';
import { Link, useNavigate } from '@tanstack/react-router';
import { useState, type FormEvent, type ReactNode } from 'react';
import { has } from '../../api/capabilities';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import { useChange, useGet } from '../../api/query';
import type { CreateClusterAccepted, EngineOffer } from '../../api/types';
import { ToneIcon } from '../../components/Badges';
import { Command } from '../../components/Copy';
import { Empty, Note } from '../../components/Faces';
import { Choice, NumberField } from '../../components/Fields';
import { Facts, PageHead } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { SecretOnce } from '../../components/Secret';
import { cli } from '../../lib/cli';
import { bytes, count } from '../../lib/format';
import { engineName } from '../clusters/engine';
import { useClusters } from '../clusters/queries';
import { useHosts } from '../hosts/queries';
import { may, useRole } from '../session/session';
import { emptyDraft, hostsFor, maxNodes, nodeNames, requestOf, reviewSteps, spread, stepNames, whyNotStep, type Draft } from './create';
import { splitList } from './names';
import classes from './Wizard.module.css';

/** A new cluster in five steps; nothing is made before the last. */
export function CreatePage() {
  const role = useRole();
  const engines = useGet<{ engines: EngineOffer[] | null }>(keys.engines, '/engines', { route: '/engines' });
  return (
    <>
      <PageHead
        title="Create a cluster"
        lead={
          has('POST /clusters/adopt') ? (
            <>
              Servers that run already can be <Link to="/clusters/adopt">adopted</Link> instead.
            </>
          ) : undefined
        }
      />
      {!may.operate(role) ? (
        <Note tone="unknown" title="Your role may look, not create">
          <p>Ask an administrator.</p>
        </Note>
      ) : (
        <QueryFaces query={engines} label="Asking the hosts what they can run" rows={3}>
          {(e) => <Wizard engines={e.engines ?? []} />}
        </QueryFaces>
      )}
    </>
  );
}

function Wizard({ engines }: { engines: EngineOffer[] }) {
  const navigate = useNavigate();
  const clusters = useClusters();
  const [step, setStep] = useState(0);
  const [tried, setTried] = useState(false);
  const only = engines.length === 1 ? engines[0]! : null;
  const [d, setDraft] = useState<Draft>({ ...emptyDraft, engine: only?.engine ?? '', version: only?.versions?.[0]?.version ?? '' });
  const create = useChange((draft: Draft) => api.post<CreateClusterAccepted>('/clusters', requestOf(draft)), keys.clusters);
  const set = (change: Partial<Draft>) => setDraft({ ...d, ...change });
  const problem = whyNotStep(d, step, (clusters.data ?? []).map((c) => c.name));
  const last = step === stepNames.length - 1;
  const follow = (operation: string) => void navigate({ to: '/clusters/$id/operations/$op', params: { id: d.name, op: operation } });

  if (engines.every((e) => (e.versions ?? []).length === 0)) {
    return (
      <Empty title="No host can run an engine yet">
        <p className="quiet">Install redis-server or valkey-server on a host with an agent, or join such a host. What stands where is looked up by itself.</p>
        <Button component={Link} to="/hosts" variant="default">
          Go to the hosts
        </Button>
      </Empty>
    );
  }
  if (create.data?.credentials) {
    return (
      <div className={`card ${classes.card}`}>
        <h2 className="section-title">{d.name} is being created. This is its account:</h2>
        <SecretOnce title="Store the password now" parts={[['User', create.data.credentials.user], ['Password', create.data.credentials.password]]} onStored={() => follow(create.data.operationId)} next="Watch it being created" />
      </div>
    );
  }
  const submit = (e: FormEvent) => {
    e.preventDefault();
    setTried(true);
    if (problem !== null) return;
    if (!last) {
      setTried(false);
      setStep(step + 1);
      return;
    }
    create.mutate(d, { onSuccess: (a) => (a.credentials ? undefined : follow(a.operationId)) });
  };
  const trouble = create.error ? troubleFrom(create.error) : null;
  return (
    <form onSubmit={submit} className={`card ${classes.card}`}>
      <ol className={classes.steps} aria-label="Steps">
        {stepNames.map((n, i) => (
          <li key={n} aria-current={i === step ? 'step' : undefined} data-done={i < step || undefined}>
            <button type="button" disabled={i >= step} onClick={() => setStep(i)}>
              <span className={classes.no}>{i + 1}</span> {n}
            </button>
          </li>
        ))}
      </ol>
      <div className={classes.body} key={step}>
        {step === 0 && <NameStep draft={d} onChange={set} />}
        {step === 1 && <EngineStep engines={engines} draft={d} onChange={set} />}
        {step === 2 && <NodesStep engines={engines} draft={d} onChange={set} />}
        {step === 3 && <SafetyStep draft={d} onChange={set} />}
        {step === 4 && <Review draft={d} />}
      </div>
      {trouble && (
        <Note tone="bad" title={trouble.title}>
          {trouble.detail && <p>{trouble.detail}</p>}
          {(trouble.refusals ?? []).map((r) => (
            <p key={`${r.code} ${r.detail}`}>
              {r.title}. {r.detail} {r.fix}
            </p>
          ))}
          {trouble.fix && <p>{trouble.fix}</p>}
        </Note>
      )}
      <div className={classes.buttons}>
        {step > 0 && (
          <Button variant="default" onClick={() => setStep(step - 1)}>
            Back
          </Button>
        )}
        <Button type="submit" loading={create.isPending}>
          {last ? `Create ${d.name}` : 'Next'}
        </Button>
        <span className="quiet" aria-live="polite">
          {tried && problem ? problem : ''}
        </span>
      </div>
    </form>
  );
}

interface StepProps {
  draft: Draft;
  onChange: (change: Partial<Draft>) => void;
}

function Title({ children, lead }: { children: ReactNode; lead?: ReactNode }) {
  return (
    <div>
      <h2 className={classes.title}>{children}</h2>
      {lead && <p className="quiet">{lead}</p>}
    </div>
  );
}

function NameStep({ draft, onChange }: StepProps) {
  return (
    <>
      <Title lead="It stands in addresses, backups and the audit, and cannot be changed.">What is it called?</Title>
      <TextInput label="Name" description="a–z, 0–9 and “-”, for instance after the application." value={draft.name} onChange={(e) => onChange({ name: e.currentTarget.value })} autoFocus maxLength={60} autoComplete="off" spellCheck={false} maw={420} />
    </>
  );
}

function EngineStep({ engines, draft, onChange }: StepProps & { engines: EngineOffer[] }) {
  const versions = engines.find((e) => e.engine === draft.engine)?.versions ?? [];
  return (
    <>
      <Title lead="What was found on your hosts.">Which engine?</Title>
      <Choice label="Engine" value={draft.engine} onChange={(engine) => onChange({ engine, version: engines.find((e) => e.engine === engine)?.versions?.[0]?.version ?? '', agents: [] })} options={engines.map((e) => ({ value: e.engine, title: engineName(e.engine), disabled: (e.versions ?? []).length === 0, consequence: (e.versions ?? []).length === 0 ? 'Found on no host.' : undefined }))} />
      {draft.engine !== '' && <Choice label="Version" value={draft.version} onChange={(version) => onChange({ version, agents: [] })} options={versions.map((v) => ({ value: v.version, title: v.version, consequence: `on ${count((v.hosts ?? []).length, 'host')}` }))} />}
    </>
  );
}

function NodesStep({ engines, draft, onChange }: StepProps & { engines: EngineOffer[] }) {
  const hosts = useHosts();
  const able = hostsFor(hosts.data ?? [], engines, draft.engine, draft.version);
  const onHost = (agent: string) => draft.agents.filter((a) => a === agent).length;
  const add = (agent: string) => onChange({ agents: [...draft.agents, agent] });
  const remove = (agent: string) => onChange({ agents: draft.agents.filter((_, i) => i !== draft.agents.lastIndexOf(agent)) });
  const s = spread(draft.agents);
  return (
    <>
      <Title lead="Three nodes on three machines are the usual choice. The first one starts as primary.">Where do the nodes live?</Title>
      {able.length === 0 ? (
        <Note tone="warn" title={`No connected host has ${engineName(draft.engine)} ${draft.version}`}>
          <p>Install it on a host, or choose another version.</p>
        </Note>
      ) : (
        <ul className={classes.hosts}>
          {able.map((h) => (
            <li key={h.agent}>
              <div>
                <strong>{h.name}</strong>
                <span className="faint">
                  {h.cores} cores, {bytes(h.memoryBytes)}
                  {h.location && `, ${h.location}`}
                  {(h.instances ?? []).length > 0 && `, runs ${count((h.instances ?? []).length, 'node')} already`}
                </span>
              </div>
              <div className={classes.counter}>
                <Button size="xs" variant="default" px={8} onClick={() => remove(h.agent)} disabled={onHost(h.agent) === 0} aria-label={`One node less on ${h.name}`}>
                  <IconMinus size={15} />
                </Button>
                <span className="num" aria-live="polite" aria-label={`${onHost(h.agent)} nodes on ${h.name}`}>
                  {onHost(h.agent)}
                </span>
                <Button size="xs" variant="default" px={8} onClick={() => add(h.agent)} disabled={draft.agents.length >= maxNodes} aria-label={`One node more on ${h.name}`}>
                  <IconPlus size={15} />
                </Button>
              </div>
            </li>
          ))}
        </ul>
      )}
      {draft.agents.length > 0 && (
        <p className={classes.spread} data-tone={s.tone}>
          <ToneIcon tone={s.tone} /> {s.sentence}
        </p>
      )}
    </>
  );
}

function SafetyStep({ draft, onChange }: StepProps) {
  const [text, setText] = useState(draft.cidrs.join('\n'));
  return (
    <>
      <Title lead="All of it can be changed later.">How safe, how big, for whom?</Title>
      <Choice
        label="A write counts once"
        value={draft.durability}
        onChange={(durability) => onChange({ durability })}
        options={[
          { value: 'async', title: 'the primary has it', consequence: 'Fastest. A primary that dies suddenly may take the last writes with it.' },
          { value: 'sync', title: 'the primary and a replica have it', consequence: 'A sudden death loses nothing. Writes stop while no replica is in step.', disabled: draft.agents.length < 2 },
        ]}
      />
      <NumberField label="Memory of each node, MiB" description="The most it uses for data. Leave room on the host for a copy while it backs up." value={draft.memoryMiB} onChange={(memoryMiB) => onChange({ memoryMiB })} min={16} maw={420} />
      <Textarea
        label="Networks that may connect"
        description="One a line, such as 10.0.0.0/8. Empty: any."
        autosize
        minRows={2}
        maxRows={6}
        value={text}
        onChange={(e) => {
          setText(e.currentTarget.value);
          onChange({ cidrs: splitList(e.currentTarget.value) });
        }}
        spellCheck={false}
        maw={420}
      />
      <Switch checked={draft.deletionProtection} onChange={(e) => onChange({ deletionProtection: e.currentTarget.checked })} label="Protect it from being deleted" description="Deleting then needs two acts." />
    </>
  );
}

function Review({ draft: d }: { draft: Draft }) {
  const r = requestOf(d);
  return (
    <>
      <Title lead="Nothing has been made yet. What fails is taken back.">{d.name}, as it will be</Title>
      <Facts
        facts={[
          ['Engine', `${engineName(d.engine)} ${d.version}`],
          ['Nodes', nodeNames(d).map((n, i) => `${n} on ${d.agents[i]}`).join(', ')],
          ['Memory each', bytes(r.memoryBytes)],
          ['A write counts once', d.durability === 'sync' ? 'a replica has it too' : 'the primary has it'],
          ['May connect', d.cidrs.length === 0 ? 'any network' : d.cidrs.join(', ')],
          ['Deletion protection', d.deletionProtection ? 'on' : 'off'],
        ]}
      />
      <div>
        <h3 className="section-title">What will run</h3>
        <ol className={classes.plan}>
          {reviewSteps(d).map((s) => (
            <li key={s}>{s}</li>
          ))}
        </ol>
      </div>
      <div className={classes.cli}>
        <span className="faint">The same from the command line</span>
        <Command prompt label="Copy as command line" value={cli.create(d.name, nodeNames(d).map((n, i) => `${n}@${d.agents[i]}`), { engine: d.engine, version: d.version, 'memory-bytes': (d.memoryMiB ?? 0) * 2 ** 20, durability: d.durability, allow: d.cidrs.join(','), protect: d.deletionProtection })} />
      </div>
    </>
  );
}
