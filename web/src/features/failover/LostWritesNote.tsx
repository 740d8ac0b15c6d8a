import type { ClusterDetail } from '../../api/types';
import { Age } from '../../components/Age';
import { Command } from '../../components/Copy';
import { Note } from '../../components/Faces';
import { bytes, count, sentenceCase } from '../../lib/format';
import { useLostWrites } from './queries';

/** Writes that only an old primary, a second one or a replica that was ahead had, kept before they were discarded. Stands only when there are any. */
export function LostWritesNote({ cluster }: { cluster: ClusterDetail }) {
  const lost = useLostWrites(cluster.id);
  const bundles = lost.data?.bundles ?? [];
  if (bundles.length === 0) return null;
  return (
    <>
      {bundles.map((b) => (
        <Note key={b.id} tone="warn" title={`Writes that only ${b.node} had were kept: ${b.commands === null ? '' : `${count(b.commands, 'command')}, `}${bytes(b.bytes)}`}>
          <p>
            {sentenceCase(b.sentence)} <Age at={b.at} sentence event />
          </p>
          <Command value={`${b.host}:${b.path}`} label="Copy the path of the bundle" />
        </Note>
      ))}
    </>
  );
}
