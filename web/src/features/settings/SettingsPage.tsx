import { has } from '../../api/capabilities';
import { StatusBadge } from '../../components/Badges';
import { DataTable } from '../../components/DataTable';
import { PageHead, Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { bytes, group, sentenceCase, toNumber } from '../../lib/format';
import { ChainCheck } from '../audit/ChainCheck';
import { may, useRole } from '../session/session';
import { BackupTargetsPanel } from './BackupTargetsPanel';
import { controlSign, useControl } from './control';
import { NotificationsPanel } from './NotificationsPanel';
import classes from './Settings.module.css';

/** What holds for all clusters. */
export function SettingsPage() {
  const role = useRole();
  return (
    <>
      <PageHead title="Settings" lead="What holds for all clusters. Nothing is ever sent to anyone but the addresses named here." />
      <div className={classes.tab}>
        {has('GET /control') && <ControlPanel />}
        {has('GET /notifications') && may.administer(role) && <NotificationsPanel />}
        {has('GET /backup-targets') && <BackupTargetsPanel editable={may.administer(role)} />}
        {has('GET /audit/verify') && may.audit(role) && (
          <Panel title="Audit chain" lead="Each record carries a hash over the one before it: a record that was changed or left out is found.">
            <ChainCheck />
          </Panel>
        )}
      </div>
    </>
  );
}

function ControlPanel() {
  const control = useControl();
  const sign = control.data ? controlSign(control.data) : null;
  return (
    <div id="control">
      <Panel title="Control plane" aside={sign && <StatusBadge tone={sign.tone}>{`${sign.up} of ${sign.total} up`}</StatusBadge>}>
        <QueryFaces query={control} label="Loading the control nodes" rows={2}>
          {(c) => (
            <>
              <p>{sentenceCase(c.sentence)}</p>
              <DataTable
                caption="Control nodes"
                rows={c.nodes ?? []}
                keyOf={(n) => n.name}
                columns={[
                  {
                    head: 'Node',
                    cell: (n) => (
                      <>
                        {n.name}
                        {n.self && <span className="faint"> (serves this page)</span>}
                      </>
                    ),
                  },
                  { head: 'Role', cell: (n) => sentenceCase(n.role) },
                  { head: 'State', cell: (n) => <StatusBadge tone={n.up ? 'ok' : 'bad'}>{n.up ? 'Up' : 'Does not answer'}</StatusBadge> },
                  { head: 'Term', cell: (n) => group(n.term), kind: 'num' },
                  { head: 'Behind', cell: (n) => (toNumber(n.lag) === 0 ? 'in step' : bytes(n.lag)), kind: 'num' },
                  { head: 'Address', cell: (n) => <code>{n.address}</code> },
                ]}
              />
            </>
          )}
        </QueryFaces>
      </Panel>
    </div>
  );
}
