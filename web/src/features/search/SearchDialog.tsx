import { Modal } from '@mantine/core';
import { IconCircleDot, IconHierarchy3, IconLayoutList, IconSearch } from '@tabler/icons-react';
import { useQueryClient } from '@tanstack/react-query';
import { useNavigate } from '@tanstack/react-router';
import { useId, useMemo, useState, type KeyboardEvent } from 'react';
import type { ClusterDetail } from '../../api/types';
import { pages } from '../../app/pages';
import { useReturnFocus } from '../../components/returnFocus';
import { engineName } from '../clusters/engine';
import { useClusters } from '../clusters/queries';
import { useHosts } from '../hosts/queries';
import { find, type Target } from './find';
import classes from './SearchDialog.module.css';

const icons = { cluster: IconHierarchy3, node: IconCircleDot, page: IconLayoutList };

/** Jumps to a cluster, a node or a page by its name. */
export function SearchDialog({ onClose }: { onClose: () => void }) {
  useReturnFocus();
  const targets = useTargets();
  const navigate = useNavigate();
  const [typed, setTyped] = useState('');
  const [at, setAt] = useState(0);
  const list = useId();
  const found = find(targets, typed);
  const chosen = Math.min(at, found.length - 1);

  const go = (t: Target) => {
    onClose();
    if (t.cluster !== undefined) void navigate({ to: '/clusters/$id', params: { id: t.cluster }, search: t.node === undefined ? {} : { node: t.node } });
    else void navigate({ to: t.to });
  };
  const onKeyDown = (e: KeyboardEvent) => {
    if (e.key === 'ArrowDown' || e.key === 'ArrowUp') {
      e.preventDefault();
      if (found.length > 0) setAt((chosen + (e.key === 'ArrowDown' ? 1 : found.length - 1)) % found.length);
    } else if (e.key === 'Enter') {
      e.preventDefault();
      const t = found[chosen];
      if (t) go(t);
    }
  };
  return (
    <Modal opened onClose={onClose} withCloseButton={false} padding={0} size={600} radius={14} yOffset="12vh" attributes={{ content: { 'aria-label': 'Search' } }}>
      <div className={classes.box}>
        <div className={classes.line}>
          <IconSearch size={18} aria-hidden />
          <input
            data-autofocus
            className={classes.input}
            role="combobox"
            aria-expanded="true"
            aria-controls={list}
            aria-activedescendant={found[chosen] ? `${list}-${chosen}` : undefined}
            aria-label="Jump to a cluster, node or page"
            placeholder="Jump to a cluster, node or page"
            value={typed}
            onKeyDown={onKeyDown}
            onChange={(e) => {
              setTyped(e.currentTarget.value);
              setAt(0);
            }}
          />
          <kbd>Esc</kbd>
        </div>
        <ul id={list} role="listbox" aria-label="Found" className={classes.list}>
          {found.map((t, i) => {
            const Icon = icons[t.kind];
            return (
              <li key={`${t.kind} ${t.cluster ?? ''} ${t.label}`} id={`${list}-${i}`} role="option" aria-selected={i === chosen} className={classes.found} onMouseMove={() => setAt(i)} onClick={() => go(t)}>
                <Icon size={17} stroke={1.7} aria-hidden />
                <strong>{t.label}</strong>
                <span>{t.under}</span>
              </li>
            );
          })}
        </ul>
        {found.length === 0 && (
          <p className={classes.none} role="status">
            Nothing is called “{typed.trim()}”.
          </p>
        )}
      </div>
    </Modal>
  );
}

/** Clusters, nodes (from the hosts' own lists and from the clusters looked at so far) and pages. */
function useTargets(): Target[] {
  const clusters = useClusters();
  const hosts = useHosts();
  const client = useQueryClient();
  return useMemo(() => {
    const nodes = new Map<string, Target>();
    const add = (cluster: string, node: string) => nodes.set(`${cluster}/${node}`, { kind: 'node', label: node, under: `node of ${cluster}`, cluster, node });
    for (const h of hosts.data ?? []) for (const i of h.instances ?? []) add(i.cluster, i.node);
    for (const [, detail] of client.getQueriesData<ClusterDetail>({ queryKey: ['cluster'] })) for (const n of detail?.nodes ?? []) add(detail!.id, n.name);
    return [
      ...(clusters.data ?? []).map((c): Target => ({ kind: 'cluster', label: c.name, under: engineName(c.engine), cluster: c.id })),
      ...nodes.values(),
      ...pages().map((p): Target => ({ kind: 'page', label: p.label, under: 'page', to: p.to })),
    ];
  }, [clusters.data, hosts.data, client]);
}
