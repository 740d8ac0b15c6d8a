import { NativeSelect } from '@mantine/core';
import { useState } from 'react';
import { has } from '../../api/capabilities';
import type { ClusterDetail } from '../../api/types';
import { isLead } from '../../components/Badges';
import { Facts, Panel } from '../../components/Page';
import { QueryFaces } from '../../components/QueryFaces';
import { sentenceCase } from '../../lib/format';
import { useWhatIf } from './queries';
import classes from './WhatIfPanel.module.css';

/** The planner's answer to "what if this node died now?". */
export function WhatIfPanel({ cluster }: { cluster: ClusterDetail }) {
  const lead = cluster.nodes.find((n) => isLead(n.role))?.name ?? cluster.nodes[0]?.name ?? '';
  const [chosen, setChosen] = useState<string | null>(null);
  const node = cluster.nodes.some((n) => n.name === chosen) ? chosen! : lead;
  const answer = useWhatIf(cluster.id, node);
  if (!has('GET /clusters/{id}/what-if') || node === '') return null;
  return (
    <Panel
      title="What if a node died now?"
      aside={<NativeSelect size="xs" aria-label="Node that dies" value={node} onChange={(e) => setChosen(e.currentTarget.value)} data={cluster.nodes.map((n) => ({ value: n.name, label: isLead(n.role) ? `${n.name} (leads)` : n.name }))} />}
    >
      <QueryFaces query={answer} label="Asking the planner" rows={2} height={40}>
        {(a) => (
          <div className={classes.answer} data-testid="what-if">
            <p className={classes.sentence}>{sentenceCase(a.sentence)}</p>
            <Facts
              single
              facts={[
                ['Next to lead', a.next || (cluster.engine === 'eventstore' && !/stop/.test(a.sentence) ? 'whom the voters elect' : 'nobody')],
                ['May lose', sentenceCase(a.lossBound || 'unknown')],
              ]}
            />
            {(a.steps ?? []).length > 0 && (
              <ol className={classes.steps}>
                {(a.steps ?? []).map((s, i) => (
                  <li key={i}>{s}</li>
                ))}
              </ol>
            )}
          </div>
        )}
      </QueryFaces>
    </Panel>
  );
}
