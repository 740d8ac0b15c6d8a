/** One thing a recorded terminal showed, or its new size. */
export interface Frame {
  /** Seconds from the beginning, long waits shortened. */
  at: number;
  /** The same as it was. */
  was: number;
  text: string;
  size?: { columns: number; rows: number };
}

export interface Recording {
  columns: number;
  rows: number;
  title: string;
  /** Unix seconds. */
  began: number;
  frames: Frame[];
  /** Seconds, long waits shortened. */
  length: number;
}

/** Nobody wants to watch somebody think for longer. */
export const maxWaitSeconds = 2;

/** Reads asciicast v2. A last line that was cut off is left out. */
export function parseRecording(file: string): Recording {
  const [first = '', ...lines] = file.split('\n');
  let head: { version?: number; width?: number; height?: number; title?: string; timestamp?: number };
  try {
    head = JSON.parse(first) as typeof head;
  } catch {
    throw new Error('This is no recording: its first line cannot be read.');
  }
  if (head.version !== 2) throw new Error(`A recording of version ${String(head.version)} cannot be shown.`);
  const frames: Frame[] = [];
  let at = 0;
  let was = 0;
  for (const line of lines) {
    if (line === '') continue;
    let event: unknown;
    try {
      event = JSON.parse(line);
    } catch {
      break;
    }
    if (!Array.isArray(event) || typeof event[0] !== 'number' || typeof event[2] !== 'string') break;
    at += Math.min(Math.max(0, event[0] - was), maxWaitSeconds);
    was = Math.max(was, event[0]);
    if (event[1] === 'o') frames.push({ at, was, text: event[2] });
    const size = /^(\d+)x(\d+)$/.exec(event[2]);
    if (event[1] === 'r' && size) frames.push({ at, was, text: '', size: { columns: Number(size[1]), rows: Number(size[2]) } });
  }
  return { columns: head.width ?? 80, rows: head.height ?? 24, title: head.title ?? '', began: head.timestamp ?? 0, frames, length: at };
}

/** The frames after one moment up to another; from before the beginning with -1. */
export function between(r: Recording, after: number, to: number): Frame[] {
  return r.frames.filter((f) => f.at > after && f.at <= to);
}
