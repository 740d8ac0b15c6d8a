// Runs the cases of this file through one official Node client against a secure cluster and prints one line of JSON
// for each: {"name", "ok", "error"}. Called by test/system with
//
//   node secure.js PACKAGE LEADER FOLLOWER CAFILE WRONGCAFILE USERCERT USERKEY      (host:port each)
//
// There are the users admin (password root), alice and bob (passwords like their names); the certificate is alice's.
"use strict";
const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");

const [packageName, leader, follower, caFile, wrongCaFile, userCert, userKey] = process.argv.slice(2);
const client = require(packageName);
const isOld = packageName === "@eventstore/db-client";
const Client = isOld ? client.EventStoreDBClient : client.KurrentDBClient;
const { jsonEvent, START, FORWARDS, BACKWARDS, END, NO_STREAM, ANY } = client;

const scheme = isOld ? "esdb" : "kurrentdb";
const open = [];
function connect(credentials, { address = leader, ca = caFile, query = "" } = {}) {
  const who = credentials ? `${credentials}@` : "";
  const c = Client.connectionString(`${scheme}://${who}${address}?tls=true&tlsCAFile=${encodeURIComponent(ca)}${query}`);
  open.push(c);
  return c;
}
const admin = () => connect("admin:root");
const alice = (o) => connect("alice:alice", o);
const bob = (o) => connect("bob:bob", o);
const as = (username, password = username) => ({ credentials: { username, password } });
const expecting = (state) => (isOld ? { expectedRevision: state } : { streamState: state });
const newStream = (kind = "stream") => `${kind}-${randomUUID()}`;
const event = (data = { n: 1 }) => jsonEvent({ type: "thing", data });

async function collect(stream) {
  const all = [];
  for await (const e of stream) if (e.event || e.link) all.push(e);
  return all;
}
const read = (c, stream, o = {}) => collect(c.readStream(stream, { direction: FORWARDS, fromRevision: START, maxCount: 100, ...o }));
const readAll = (c, o = {}) => collect(c.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 500, ...o }));

// denied passes if the promise is refused for want of rights or credentials, as this client words it.
async function denied(promise, what) {
  try {
    await promise;
  } catch (e) {
    assert.match(`${e.type} ${e.name} ${e.message}`, /access.?denied|permission.?denied|unauthenticated|wrong user name/i, `${what}: ${e.stack}`);
    return;
  }
  assert.fail(`${what} was allowed`);
}

// secret makes a stream that only alice may use.
async function secret() {
  const c = admin(), s = newStream("secret");
  await c.appendToStream(s, [event({ what: "secret" })], expecting(NO_STREAM));
  await c.setStreamMetadata(s, { acl: { readRoles: ["alice"], writeRoles: ["alice"], deleteRoles: ["alice"], metaReadRoles: ["alice"], metaWriteRoles: ["alice"] } });
  return s;
}

const cases = [];
const test = (name, run) => cases.push({ name, run });

test("credentials of the connection", async () => {
  const c = bob(), s = newStream();
  await c.appendToStream(s, [event()], expecting(NO_STREAM));
  assert.equal((await read(c, s)).length, 1);
});

test("credentials of a call win over those of the connection", async () => {
  const s = await secret(), c = bob();
  await denied(read(c, s), "bob reads");
  assert.equal((await read(c, s, as("alice"))).length, 1);
  await denied(read(alice(), s, as("bob")), "bob reads through alice's connection");
});

test("a wrong password is refused everywhere", async () => {
  const c = connect("bob:wrong");
  await denied(c.appendToStream(newStream(), [event()], expecting(ANY)), "append");
  await denied(read(c, newStream()), "read");
  await denied(readAll(c), "read of all");
  await denied(read(bob(), newStream(), as("bob", "wrong")), "read with credentials of the call");
});

test("somebody who does not exist is refused like a wrong password", async () => {
  await denied(read(connect("nobody:x"), newStream()), "read");
});

test("without credentials nothing is read or written", async () => {
  const c = connect("");
  await denied(c.appendToStream(newStream(), [event()], expecting(ANY)), "append");
  await denied(read(c, "any"), "read");
  await denied(readAll(c), "read of all");
});

test("a stream's list lets in whom it names", async () => {
  const s = await secret(), c = alice();
  assert.equal((await read(c, s)).length, 1);
  await c.appendToStream(s, [event()], expecting(0n));
  assert.deepEqual((await c.getStreamMetadata(s)).metadata.acl.readRoles, ["alice"]);
});

test("a stream's list keeps out everybody else, on every path", async () => {
  const s = await secret(), c = bob();
  await denied(read(c, s), "read forwards");
  await denied(read(c, s, { direction: BACKWARDS, fromRevision: END }), "read backwards");
  await denied(c.getStreamMetadata(s), "read of metadata");
  await denied(c.setStreamMetadata(s, {}), "write of metadata");
  await denied(c.appendToStream(s, [event()], expecting(ANY)), "append, in a batch");
  await denied(c.appendToStream(s, [event()], { ...expecting(ANY), ...as("bob") }), "append, by itself");
  await denied(c.deleteStream(s), "delete");
  await denied(c.tombstoneStream(s), "tombstone");
  assert.equal((await read(admin(), s)).length, 1);
});

test("a subscription without the right to it is refused", async () => {
  const s = await secret();
  await denied(new Promise((resolve, reject) => {
    const subscription = bob().subscribeToStream(s, { fromRevision: START });
    subscription.on("error", reject);
    subscription.on("data", () => resolve());
  }), "subscribe");
});

test("a subscription with the right to it goes on", async () => {
  const s = await secret();
  const subscription = alice().subscribeToStream(s, { fromRevision: START });
  const got = await new Promise((resolve, reject) => {
    subscription.on("error", reject);
    subscription.on("data", (e) => e.event && resolve(e));
  });
  assert.equal(got.event.data.what, "secret");
  await subscription.unsubscribe();
});

test("links show their target only to who may read it", async () => {
  const s = await secret(), links = newStream("links");
  await admin().appendToStream(links, [{ ...client.binaryEvent({ type: "$>", data: Buffer.from(`0@${s}`) }) }], expecting(NO_STREAM));
  const [forBob] = await read(bob(), links, { resolveLinkTos: true });
  assert.equal(forBob.event, undefined);
  assert.equal(forBob.link.type, "$>");
  const [forAlice] = await read(alice(), links, { resolveLinkTos: true });
  assert.equal(forAlice.event.data.what, "secret");
});

test("all streams and system streams are the administrators'", async () => {
  await denied(readAll(bob()), "read of all");
  await denied(read(bob(), "$users"), "read of the users");
  await denied(read(bob(), "$user-admin"), "read of an account");
  await denied(bob().appendToStream("$settings", [event()], expecting(ANY)), "write of settings");
  assert.ok((await readAll(admin())).length > 0);
  assert.ok((await read(admin(), "$users")).length >= 4);
});

test("followers judge as the leader does", async () => {
  const s = await secret(), query = "&nodePreference=random";
  const end = Date.now() + 20000; // until the follower has applied it
  for (;;) {
    try {
      const { metadata } = await alice({ address: follower, query }).getStreamMetadata(s, { requiresLeader: false });
      assert.ok(metadata.acl, "the list is not there yet");
      break;
    } catch (e) {
      if (Date.now() > end) throw e;
      await new Promise((r) => setTimeout(r, 20));
    }
  }
  assert.equal((await read(alice({ address: follower, query }), s, { requiresLeader: false })).length, 1);
  await denied(read(bob({ address: follower, query }), s, { requiresLeader: false }), "read on a follower");
  await denied(bob({ address: follower, query }).appendToStream(s, [event()], expecting(ANY)), "append through a follower");
});

test("persistent subscriptions are the operators' to make", async () => {
  const s = newStream(), group = "g", settings = client.persistentSubscriptionToStreamSettingsFromDefaults();
  await denied(bob().createPersistentSubscriptionToStream(s, group, settings), "create");
  await admin().createPersistentSubscriptionToStream(s, group, settings);
  await denied(bob().deletePersistentSubscriptionToStream(s, group), "delete");
  await admin().deletePersistentSubscriptionToStream(s, group);
});

test("a node with another root is not trusted", async () => {
  await assert.rejects(read(connect("admin:root", { ca: wrongCaFile, query: "&maxDiscoverAttempts=1" }), "any"), (e) => !/access.?denied/i.test(String(e)));
});

if (!isOld) {
  test("a user's certificate signs in", async () => {
    const s = await secret();
    const c = connect("", { query: `&userCertFile=${encodeURIComponent(userCert)}&userKeyFile=${encodeURIComponent(userKey)}` });
    await c.appendToStream(s, [event()], expecting(0n));
    await denied(c.appendToStream("$settings", [event()], expecting(ANY)), "write of settings");
  });
}

// attempt runs a case once and returns what went wrong.
async function attempt(c) {
  let timer;
  try {
    await Promise.race([
      c.run(),
      new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("no end after 60 s")), 60000); }),
    ]);
    return "";
  } catch (e) {
    return String((e && e.stack) || e);
  } finally {
    clearTimeout(timer);
  }
}

// Another leader, or none for a moment, is no matter of these cases: each begins anew with streams of its own.
const leaderMoved = /not.?leader|unavailable|no leader|timed out|timeout/i;

(async () => {
  for (const c of cases) {
    const line = { name: c.name, ok: true, error: "" };
    for (let n = 0; n < 5; n++) {
      line.error = await attempt(c);
      if (!leaderMoved.test(line.error)) break;
    }
    line.ok = line.error === "";
    process.stdout.write(JSON.stringify(line) + "\n");
    await Promise.allSettled(open.splice(0).map((c) => c.dispose()));
  }
  process.exit(0);
})();
