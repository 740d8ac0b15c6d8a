import { Button } from '@mantine/core';
import { getRouteApi, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import { QueryFaces } from '../../components/QueryFaces';
import { Panel } from '../../components/Page';
import { useCluster } from '../clusters/queries';
import { may, useRole } from '../session/session';
import classes from './Settings.module.css';
import { DeleteClusterDialog } from './DeleteClusterDialog';
import { EndpointForm } from './EndpointForm';
import { EngineUsersPanel } from './EngineUsersPanel';
import { ParametersPanel } from './ParametersPanel';
import { PolicyForm } from './PolicyForm';
import { useClusterSettings } from './queries';

const route = getRouteApi('/shell/clusters/$id');

/** What a cluster does by itself, who may connect, and, last, its end. */
export function ClusterSettingsTab() {
  const { id } = route.useParams();
  const navigate = useNavigate();
  const { data: cluster } = useCluster(id);
  const settings = useClusterSettings(id);
  const role = useRole();
  const [deleting, setDeleting] = useState(false);
  if (!cluster) return null;
  const started = (op: string) => void navigate({ to: '.', search: (old) => ({ ...old, op }) });
  return (
    <div className={classes.tab}>
      <QueryFaces query={settings} label="Loading the settings" rows={3} height={140}>
        {(s) => <PolicyForm key={JSON.stringify(s.policy)} cluster={cluster} settings={s} editable={may.administer(role)} onStarted={started} />}
      </QueryFaces>
      {has('GET /clusters/{id}/endpoint') && <EndpointForm cluster={cluster} editable={may.administer(role)} />}
      {has('GET /clusters/{id}/users') && <EngineUsersPanel cluster={cluster} editable={may.administer(role)} />}
      {has('GET /clusters/{id}/parameters') && <ParametersPanel cluster={cluster} editable={may.administer(role)} onStarted={started} />}
      {has('POST /clusters/{id}/delete') && may.administer(role) && (
        <Panel title="Danger zone" tone="bad" lead="Stops every node and forgets the cluster. Its audit and its backups stay.">
          {settings.data?.policy.deletionProtection && <p className="quiet">Deletion protection is on: turn it off above and save first.</p>}
          <Button color="bad" variant="outline" style={{ justifySelf: 'start' }} disabled={settings.data?.policy.deletionProtection !== false} onClick={() => setDeleting(true)}>
            Delete {cluster.name}…
          </Button>
        </Panel>
      )}
      {deleting && <DeleteClusterDialog cluster={cluster} onStarted={started} onClose={() => setDeleting(false)} />}
    </div>
  );
}
