// The mock server's terminals: what a shell shows is written here, nothing is
// run. A WebSocket's frames are made by hand, as no module is worth it.

import { createHash } from 'node:crypto';

const iso = (ms) => new Date(ms).toISOString();

const screen = [
  '\x1b[2mbaton: engine shell on sessions-2, replica. Reads only; :help shows what can be typed.\x1b[0m\r\n',
  'sessions-2> INFO replication\r\n# Replication\r\nrole:slave\r\nmaster_host:127.0.0.1\r\nmaster_link_status:up\r\nslave_repl_offset:48273991204\r\n',
  'sessions-2> SET a 1\r\n\x1b[31mrefused:\x1b[0m this terminal only reads. Allow writing above, or ask a replica less of.\r\n',
  'sessions-2> ',
];

const session = (now, id, over) => ({
  id, cluster: 'sessions', node: 'sessions-2', kind: 'engine', write: false, who: 'admin', role: 'admin', reason: '', ip: '127.0.0.1', beganAt: iso(now - 4 * 60_000), endedAt: null, why: '', bytes: 1800, commands: 4, changes: 0, refused: 1, mayEnd: true, mayRead: true, host: 'rack-a-1', control: 'c1', ...over,
});

/** Routes, as those of more.mjs. */
export const terminalRoutes = [
  ['POST', '/terminal/tickets', ({ body, problem }) => (body.typedName === 'refuse' ? problem(403, 'role', 'Your role cannot open this terminal', '', 'Ask an administrator.') : [201, { ticket: `t-${body.kind}-${body.node}`, expiresInSeconds: 30 }])],
  ['GET', '/terminal/sessions', ({ w, now, query }) => [
    200,
    {
      sessions: query.get('cluster') !== 'sessions' || w.scenario === 'empty' ? [] : [
        session(now, 's1', {}),
        session(now, 's2', { who: 'mira', node: 'sessions-1', kind: 'admin', write: true, reason: 'find what fills the memory', beganAt: iso(now - 3 * 3_600_000), endedAt: iso(now - 2.6 * 3_600_000), why: 'idle for 10 minutes', commands: 31, changes: 2, refused: 0, mayEnd: false }),
        session(now, 's3', { who: 'jon', node: 'sessions-3', kind: 'os', beganAt: iso(now - 26 * 3_600_000), endedAt: iso(now - 25.9 * 3_600_000), why: 'ended by admin: power work begins', commands: 12, mayEnd: false }),
      ],
    },
  ]],
  ['POST', '/terminal/sessions/:id/end', () => [200, {}]],
];

/** A recording, one JSON value a line. */
export function recording(now) {
  return [{ version: 2, width: 80, height: 16, timestamp: Math.floor(now / 1000) - 3600, title: 'sessions-2, engine shell, admin' }, ...screen.map((text, i) => [i * 0.4, 'o', text])].map((x) => JSON.stringify(x)).join('\n');
}

/** One unmasked frame of a server. */
function frame(data) {
  const body = Buffer.from(data);
  const kind = 0x80 | (typeof data === 'string' ? 1 : 2);
  return Buffer.concat([body.length < 126 ? Buffer.from([kind, body.length]) : Buffer.from([kind, 126, body.length >> 8, body.length & 0xff]), body]);
}

/** Answers the upgrade of a terminal's WebSocket: greets, shows the screen and, where asked to, warns. */
export function upgrade(req, socket, scenario) {
  const key = createHash('sha1').update(`${req.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${key}\r\nSec-WebSocket-Protocol: baton-terminal.v1\r\n\r\n`);
  const os = req.url.includes('t-os-');
  const say = (notice) => socket.write(frame(JSON.stringify(notice)));
  say({ type: 'hello', session: 's1', node: 'sessions-2', kind: os ? 'os' : 'engine', host: 'rack-a-1', user: 'baton', role: 'replica', level: 'read', idleSeconds: 600 });
  for (const text of screen) socket.write(frame(Buffer.from(text)));
  if (scenario === 'terminal-idle') say({ type: 'warning', text: 'Nothing was typed for 9 minutes: this terminal ends in one minute.' });
  if (scenario === 'terminal-ended') {
    say({ type: 'end', text: 'mira ended it: power work begins' });
    socket.end(Buffer.from([0x88, 0]));
  }
  socket.on('error', () => {});
}
