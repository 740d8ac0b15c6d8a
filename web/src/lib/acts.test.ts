import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, it } from 'vitest';
import { cli } from './cli';

// Goal: whatever the dashboard asks the server to change can be copied as a command line, where it is done. Method: every
// call of api.post, put and delete in the sources is found, and its route must be in the table below, with the builders
// of lib/cli of which one stands in the same component or its parts in that file (of a hook: in its folder), or with the reason why there is none.

type Builder = keyof typeof cli;

const lines: Record<string, readonly Builder[] | string> = {
  'POST /login': 'a person signs in to the page',
  'POST /logout': 'a person leaves the page',
  'POST /setup': 'the one-use link is for a person and a browser',
  'POST /set-password': 'the one-use link is for a person and a browser',
  'POST /me/password': 'the password of the page; the command line has tokens',
  'POST /clusters/{}/plan': 'a question, of which "explain" is the line',
  'POST /clusters/adopt/preview': 'a question; its line is that of adopting with --dry-run',

  'POST /clusters': ['create'],
  'POST /clusters/adopt': ['adopt'],
  'POST /clusters/{}/delete': ['deleteCluster'],
  'POST /clusters/{}/promotions': ['promote'],
  'POST /operations/{}/undo': ['undo'],
  'POST /operations/{}/cancel': ['cancelOperation'],
  'DELETE /clusters/{}/schedules/{}': ['cancelSchedule'],
  'POST /approvals/{}/{}': ['decide'],
  'POST /clusters/{}/failover': ['failover'],
  'POST /clusters/{}/failover/pause': ['pause'],
  'POST /clusters/{}/failover/acknowledge': ['acknowledgeFailover'],
  'POST /clusters/{}/nodes': ['addNode'],
  'POST /clusters/{}/nodes/{}/remove': ['removeNode'],
  'POST /clusters/{}/nodes/{}/resync': ['resync'],
  'POST /clusters/{}/nodes/{}/maintenance': ['maintenance'],
  'PUT /clusters/{}/nodes/{}/tags': ['tags'],
  'PUT /clusters/{}/settings': ['settings'],
  'PUT /clusters/{}/endpoint': ['endpoint'],
  'PUT /clusters/{}/parameters': ['parameters'],
  'POST /clusters/{}/restart': ['restart'],
  'POST /clusters/{}/users': ['addDatabaseUser'],
  'POST /clusters/{}/users/{}/rotate': ['rotateDatabaseUser'],
  'DELETE /clusters/{}/users/{}': ['removeDatabaseUser'],

  'POST /clusters/{}/backups': ['backup'],
  'POST /clusters/{}/drill': ['drill'],
  'POST /clusters/{}/backups/{}/verify': ['verifyBackup'],
  'POST /clusters/{}/backups/{}/restore': ['restoreBeside', 'restoreInPlace'],
  'POST /clusters/{}/backups/{}/delete': ['deleteBackup'],
  'POST /backup-targets': ['addTarget'],
  'DELETE /backup-targets/{}': ['removeTarget'],

  'POST /clusters/{}/streams/events': ['appendEvent'],
  'POST /clusters/{}/streams/delete': ['deleteStream'],
  'POST /clusters/{}/subscriptions': ['createSubscription'],
  'PUT /clusters/{}/subscriptions': ['editSubscription'],
  'POST /clusters/{}/subscriptions/replay': ['replaySubscription'],
  'POST /clusters/{}/subscriptions/delete': ['deleteSubscription'],
  'POST /clusters/{}/projections': ['createProjection'],
  'PUT /clusters/{}/projections': ['editProjection'],
  'POST /clusters/{}/projections/command': ['commandProjection'],
  'POST /clusters/{}/projections/delete': ['deleteProjection'],
  'PUT /clusters/{}/store-login': ['storeLogin'],
  'DELETE /clusters/{}/store-login': ['forgetStoreLogin'],
  'POST usersAt/{}': ['addStoreUser'],
  'PUT usersAt/{}/{}': ['storeUserGroups', 'enableStoreUser'],
  'POST usersAt/{}/{}/password': ['resetStoreUser'],
  'POST usersAt/{}/{}/delete': ['deleteStoreUser'],

  'POST /users': ['addPerson'],
  'PUT /users/{}': ['changeRole', 'disablePerson'],
  'POST /users/{}/password': ['passwordLink'],
  'DELETE /users/{}': ['deletePerson'],
  'POST /tokens': ['addToken'],
  'DELETE /tokens/{}': ['endToken'],

  'POST /alerts/{}/acknowledge': ['acknowledgeAlert'],
  'PUT /notifications': ['notifications'],
  'POST /notifications/test': ['testNotifications'],

  'POST /hosts/join-token': ['hostToken'],
  'POST /hosts/ssh': ['sshHost'],
  'POST /hosts/create': ['createMachine'],
  'DELETE /hosts/{}': ['removeHost'],
  'POST /machines/{}/delete': ['deleteMachine'],
  'POST /provider-accounts': ['addAccount'],
  'DELETE /provider-accounts/{}': ['removeAccount'],

  'POST /terminal/tickets': ['terminal'],
  'POST /terminal/sessions/{}/end': ['endTerminal'],
};

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

function sources(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const name = join(folder, entry.name);
    if (entry.isDirectory()) return sources(name);
    return /\.tsx?$/.test(name) && !/\.test\.tsx?$/.test(name) && entry.name !== 'schema.ts' ? [name] : [];
  });
}

/** The route that an expression makes, with {} for what is known only when it runs. */
function routeOf(e: ts.Expression): string {
  if (ts.isStringLiteralLike(e)) return e.text;
  if (ts.isTemplateExpression(e)) return e.head.text + e.templateSpans.map((s) => (ts.isCallExpression(s.expression) ? routeOf(s.expression) : '{}') + s.literal.text).join('');
  if (ts.isCallExpression(e) && ts.isIdentifier(e.expression)) {
    const parts = e.arguments.map((a) => (ts.isStringLiteralLike(a) ? a.text : '{}')).join('/');
    return e.expression.text === 'path' ? `/${parts}` : `${e.expression.text}/${parts}`;
  }
  return '{}';
}

interface Change {
  route: string;
  where: string;
  /** The text in which the builders must stand. */
  scope: string;
}

function changesIn(file: string): Change[] {
  const text = readFileSync(file, 'utf8');
  const tree = ts.createSourceFile(file, text, ts.ScriptTarget.Latest, true, file.endsWith('x') ? ts.ScriptKind.TSX : ts.ScriptKind.TS);
  const folder = () =>
    sources(dirname(file))
      .map((f) => readFileSync(f, 'utf8'))
      .join('\n');
  /** A component, and those of the same file that stand in it. */
  const withParts = (s: ts.Statement) => [s, ...tree.statements.filter((o) => o !== s && ts.isFunctionDeclaration(o) && o.name && s.getText().includes(`<${o.name.text} `))].map((o) => o.getText()).join('\n');
  const found: Change[] = [];
  for (const statement of tree.statements) {
    const visit = (n: ts.Node): void => {
      if (ts.isCallExpression(n) && ts.isPropertyAccessExpression(n.expression) && n.expression.expression.getText() === 'api' && ['post', 'put', 'delete'].includes(n.expression.name.text) && n.arguments[0]) {
        const line = tree.getLineAndCharacterOfPosition(n.getStart()).line + 1;
        found.push({ route: `${n.expression.name.text.toUpperCase()} ${routeOf(n.arguments[0])}`, where: `${relative(root, file)}:${line}`, scope: file.endsWith('.tsx') ? withParts(statement) : folder() });
      }
      ts.forEachChild(n, visit);
    };
    visit(statement);
  }
  return found;
}

const changes = sources(root).filter((f) => !f.endsWith('api/client.ts')).flatMap(changesIn);

it('finds the calls that change something', () => {
  expect(changes.length).toBeGreaterThan(60);
});

it('has a command line for each, where it is done', () => {
  const wrong = changes.flatMap(({ route, where, scope }) => {
    const entry = lines[route];
    if (entry === undefined) return [`${where}: ${route} has no command line; give it one in lib/cli and here`];
    if (typeof entry === 'string') return [];
    return entry.some((builder) => new RegExp(`\\bcli\\.${builder}\\(`).test(scope)) ? [] : [`${where}: ${route} is done without offering cli.${entry.join(' or cli.')} beside it`];
  });
  expect(wrong).toEqual([]);
});

it('lists nothing that is done no more', () => {
  const done = new Set(changes.map((c) => c.route));
  expect(Object.keys(lines).filter((route) => !done.has(route))).toEqual([]);
});
