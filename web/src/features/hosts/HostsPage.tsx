import { useQuery } from '@tanstack/react-query';
import { api } from '../../api/client';
import { troubleFrom } from '../../api/errors';
import { keys } from '../../api/keys';
import type { HostList } from '../../api/types';
import { Age, Dated } from '../../components/Age';
import { Command } from '../../components/Copy';
import { Empty, ErrorFace, Loading } from '../../components/Faces';
import { bytes, unknown } from '../../lib/format';
import nodes from '../nodes/NodesTab.module.css';

/** Hosts have no events of their own yet; their reports are asked for this often. */
const pollMs = 1000;

export function HostsPage() {
  const hosts = useQuery({
    queryKey: keys.hosts,
    queryFn: async ({ signal }) => (await api.get<HostList>('/hosts', signal)).hosts,
    refetchInterval: pollMs,
  });
  return (
    <>
      <title>Hosts · Baton</title>
      <h1 style={{ fontSize: 26, letterSpacing: '-0.02em', lineHeight: 1.2, marginBottom: 20 }}>Hosts</h1>
      {hosts.isPending ? (
        <Loading rows={2} label="Loading the hosts" />
      ) : hosts.data === undefined ? (
        <ErrorFace trouble={troubleFrom(hosts.error)} onRetry={() => void hosts.refetch()} />
      ) : hosts.data.length === 0 ? (
        <Empty title="No host has joined yet">
          <p className="quiet">Run the agent on the machine whose databases Baton shall manage. The control plane prints the one-use token.</p>
          <Command value="baton agent --join TOKEN" prompt />
        </Empty>
      ) : (
        <div className={`card ${nodes.wrap}`}>
          <table className={nodes.table}>
            <caption className="visually-hidden">Hosts with an agent</caption>
            <thead>
              <tr>
                {['Name', 'Agent', 'System', 'Hardware', 'Provider and location', 'Last report'].map((h) => (
                  <th key={h} scope="col">
                    {h}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {hosts.data.map((h) => (
                <tr key={h.agent || h.name} className={nodes.row}>
                  <th scope="row">
                    <strong>{h.name}</strong>
                  </th>
                  <td data-label="Agent" className="mono">
                    {h.agent || unknown}
                  </td>
                  <td data-label="System">{h.os || unknown}</td>
                  <td data-label="Hardware" className="num">
                    <Dated at={h.lastReport}>
                      {h.cores} cores, {bytes(h.memoryBytes)}
                    </Dated>
                  </td>
                  <td data-label="Provider and location">
                    {h.provider || unknown}
                    <span className={nodes.under}>{h.location}</span>
                  </td>
                  <td data-label="Last report">
                    <Age at={h.lastReport} by={h.agent} sentence />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
