import type { ClusterDetail } from '../../api/types';
import { Age } from '../../components/Age';
import { Note } from '../../components/Faces';

/** On top of the page while a primary goes on without the control plane: what holds, what ends it, what to do. */
export function FailsafeNote({ cluster }: { cluster: Pick<ClusterDetail, 'failsafe'> }) {
  const f = cluster.failsafe;
  if (!f) return null;
  return (
    <div style={{ marginBottom: 16 }} data-testid="failsafe" data-seen={f.seen}>
      <Note tone="warn" title={f.seen ? `${f.node} holds on by the promises of the other agents` : `${f.node} may be holding on by the promises of the other agents`}>
        {f.seen ? (
          <p>
            Its agent hears no control node
            {f.since && (
              <>
                {' '}
                since <Age at={f.since} event />
              </>
            )}
            . It takes writes because every other agent of the cluster promises to promote nobody. When one of them falls silent, writes stop within the time of the lease; nothing acknowledged is lost.
          </p>
        ) : (
          <p>No control node leads, so no agent reports here. The primary takes writes as long as every other agent promises to promote nobody, and stops when one of them falls silent. Until a control node leads again nobody is promoted.</p>
        )}
        <p>Start the control nodes that are away, or mend the network between them and the agents: the promises end by themselves then.</p>
      </Note>
    </div>
  );
}
