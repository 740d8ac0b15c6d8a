/** What backups are about, in the words of an engine. */
export interface BackupWords {
  /** Heads the column that counts what is in a backup. */
  holds: string;
  /** The same inside a sentence. */
  items: string;
  /** The node chosen when nobody chooses. */
  best: string;
  leader: string;
  without: string;
  drillWhy: string;
  drill: string;
  verify: string;
  /** What a restored cluster is, in a sentence that follows "NAME goes on untouched.". */
  beside: string;
}

const redis: BackupWords = {
  holds: 'Keys',
  items: 'keys',
  best: 'the best replica',
  leader: 'primary',
  without: 'Without one, a deleted key or a lost machine room is final. “Back up now” copies from the best replica; the primary is not slowed.',
  drillWhy: 'A backup counts once it came back. A drill loads the newest one into a scratch instance, compares it, and measures how long that takes.',
  drill: 'The newest backup is loaded into a scratch instance, its keys are counted and compared, and the time is measured. The cluster is not touched.',
  verify: 'Its checksum is read again and it is loaded into a scratch instance. The cluster is not touched.',
  beside: 'Look at the old data first, then copy what you miss.',
};

const store: BackupWords = {
  holds: 'Events',
  items: 'events',
  best: 'a clone or follower',
  leader: 'leader',
  without: 'Without one, a deleted stream or a lost machine room is final. “Back up now” reads the log of a clone or a follower; the leader is not slowed.',
  drillWhy: 'A backup counts once it came back. A drill reads the newest one, applies every event of it as a starting node would, and measures how long that takes.',
  drill: 'The newest backup is read, every event of it is applied as by a starting node, apart from everything else, and the time is measured. The cluster is not touched.',
  verify: 'Every file is compared with its hash, and every event is applied as by a starting node. The cluster is not touched.',
  beside: 'One node goes on from the log of the backup, with its accounts; every event keeps its position and revision.',
};

/** The words for an engine's backups. */
export function backupWords(engine: string): BackupWords {
  return engine === 'eventstore' ? store : redis;
}

/** Where a backup goes: the choices, and the one taken when nobody chooses. A cluster without a target of its own needs one named. */
export function targetChoice(own: string, targets: readonly { name: string; location: string }[]): { initial: string; data: { value: string; label: string }[] } {
  const all = targets.map((t) => ({ value: t.name, label: `${t.name} (${t.location})` }));
  if (own === '') return { initial: all[0]?.value ?? '', data: all };
  return { initial: '', data: all.length > 1 ? [{ value: '', label: 'the cluster’s own target' }, ...all] : [] };
}
