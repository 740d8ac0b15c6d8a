import type { Backup, BackupState } from '../../api/types';
import type { Tone } from '../../lib/severity';

export const backupTone: Record<BackupState, Tone> = { running: 'unknown', done: 'unknown', verified: 'ok', failed: 'bad', expired: 'unknown' };
export const backupWord: Record<BackupState, string> = { running: 'Running', done: 'Taken, not verified', verified: 'Verified', failed: 'Failed', expired: 'Expired' };

/** Whether a cluster can be restored from it. */
export function restorable(b: Pick<Backup, 'state' | 'damaged'>): boolean {
  if (b.damaged) return false;
  return b.state === 'done' || b.state === 'verified';
}

/** A time between two backups in which a write could be lost that should not have been: longer than twice the schedule. */
export interface Gap {
  fromMs: number;
  toMs: number;
}

/** The interval of a schedule, milliseconds; null where it is not "@every" or a plain daily, hourly or weekly line. */
export function scheduleMs(schedule: string): number | null {
  const every = /^@every\s+(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$/.exec(schedule.trim());
  if (every) {
    const ms = (Number(every[1] ?? 0) * 3600 + Number(every[2] ?? 0) * 60 + Number(every[3] ?? 0)) * 1000;
    return ms > 0 ? ms : null;
  }
  if (schedule === '@hourly' || /^\d+ \* \* \* \*$/.test(schedule)) return 3_600_000;
  if (schedule === '@daily' || /^\d+ \d+ \* \* \*$/.test(schedule)) return 86_400_000;
  if (schedule === '@weekly' || /^\d+ \d+ \* \* \d$/.test(schedule)) return 7 * 86_400_000;
  return null;
}

/** Gaps between restorable backups, and from the newest to now, that are longer than twice the schedule. */
export function gaps(backups: readonly Backup[], schedule: string, now: number): Gap[] {
  const interval = scheduleMs(schedule);
  if (interval === null) return [];
  const times = backups.filter(restorable).map((b) => Date.parse(b.at)).sort((a, b) => a - b);
  if (times.length === 0) return [];
  const out: Gap[] = [];
  [...times, now].reduce((before, t) => {
    if (t - before > 2 * interval) out.push({ fromMs: before, toMs: t });
    return t;
  });
  return out;
}

/** A schedule in words. */
export function scheduleWords(schedule: string): string {
  if (schedule === '') return 'only by hand';
  const every = /^@every\s+(.+)$/.exec(schedule);
  const hours = /^(\d+)h$/.exec(every?.[1] ?? '');
  if (hours && Number(hours[1]) % 24 === 0) return hours[1] === '24' ? 'every day' : `every ${Number(hours[1]) / 24} days`;
  if (every) return `every ${every[1]!.replace(/h/, ' h ').replace(/m/, ' min ').replace(/s/, ' s').trim()}`;
  const daily = /^(\d+) (\d+) \* \* \*$/.exec(schedule);
  if (daily) return `each day at ${daily[2]!.padStart(2, '0')}:${daily[1]!.padStart(2, '0')}`;
  return schedule;
}
