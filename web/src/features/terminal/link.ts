import { socketAddress } from './queries';

/** What the server tells about a terminal. */
export interface Notice {
  type: 'hello' | 'mode' | 'warning' | 'end';
  session?: string;
  node?: string;
  kind?: string;
  host?: string;
  user?: string;
  /** The node's role, live. */
  role?: string;
  /** Class of commands that are carried out at most: read, write or admin. */
  level?: string;
  idleSeconds?: number;
  text?: string;
}

export interface LinkEvents {
  onOutput: (bytes: Uint8Array) => void;
  onNotice: (notice: Notice) => void;
  /** The connection is gone; told once. */
  onGone: () => void;
}

/** One message holds at most this much of what is typed or pasted, in bytes. */
export const maxTyped = 64 * 1024;

/** Cuts what was pasted into messages; a character is never cut. */
export function pieces(text: string, most = maxTyped): Uint8Array[] {
  const all = new TextEncoder().encode(text);
  const out: Uint8Array[] = [];
  for (let at = 0; at < all.length; ) {
    let end = Math.min(at + most, all.length);
    while (end < all.length && end > at + 1 && ((all[end] ?? 0) & 0xc0) === 0x80) end--;
    out.push(all.subarray(at, end));
    at = end;
  }
  return out;
}

/** A terminal's connection. What is sent before it is open goes out when it is: keys pressed early are not lost. */
export class TerminalLink {
  private readonly socket: WebSocket;
  private early: (string | Uint8Array)[] = [];

  constructor(ticket: string, events: LinkEvents) {
    this.socket = new WebSocket(socketAddress(ticket), 'baton-terminal.v1');
    this.socket.binaryType = 'arraybuffer';
    this.socket.onopen = () => {
      const early = this.early;
      this.early = [];
      for (const data of early) this.send(data);
    };
    this.socket.onmessage = (e: MessageEvent<ArrayBuffer | string>) => {
      if (typeof e.data !== 'string') {
        events.onOutput(new Uint8Array(e.data));
        return;
      }
      try {
        events.onNotice(JSON.parse(e.data) as Notice);
      } catch {
        // A notice of a newer server that this page cannot read.
      }
    };
    this.socket.onclose = () => events.onGone();
  }

  type(text: string) {
    for (const piece of pieces(text)) this.send(piece);
  }

  size(columns: number, rows: number) {
    this.send(JSON.stringify({ type: 'size', columns, rows }));
  }

  /** Confirms output that was drawn; the server sends only so much ahead. */
  shown(bytes: number) {
    this.send(JSON.stringify({ type: 'shown', bytes }));
  }

  write(typedName: string) {
    this.send(JSON.stringify({ type: 'write', typedName }));
  }

  readOnly() {
    this.send(JSON.stringify({ type: 'read-only' }));
  }

  close() {
    this.socket.close();
  }

  private send(data: string | Uint8Array) {
    if (this.socket.readyState === WebSocket.CONNECTING) this.early.push(data);
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(data as string | Uint8Array<ArrayBuffer>);
  }
}
