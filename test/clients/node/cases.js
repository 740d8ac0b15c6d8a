// Runs the cases of this file through one official Node client against a running cluster and prints one line
// of JSON for each: {"name", "ok", "error"}. Called by test/system with
//
//   node cases.js PACKAGE LEADER FOLLOWER CLONE      (host:port each)
//
// One process serves one package: both register their generated messages in one global tree.
"use strict";
const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");

const [packageName, leader, follower, clone] = process.argv.slice(2);
const client = require(packageName);
const isOld = packageName === "@eventstore/db-client";
const Client = isOld ? client.EventStoreDBClient : client.KurrentDBClient;
const { jsonEvent, binaryEvent, START, END, FORWARDS, BACKWARDS, NO_STREAM, ANY, STREAM_EXISTS } = client;

const scheme = isOld ? "esdb" : "kurrentdb";
const direct = (address, query = "") => Client.connectionString(`${scheme}://${address}?tls=false${query}`);
const cluster = (query = "") => Client.connectionString(`${scheme}://${leader},${follower},${clone}?tls=false${query}`);
// The two clients name the same option differently.
const expecting = (state) => (isOld ? { expectedRevision: state } : { streamState: state });

const nodes = { leader, follower, clone };
const newStream = () => `node-${randomUUID()}`;
const events = (n, type = "thing") =>
  Array.from({ length: n }, (_, i) => jsonEvent({ type, data: { n: i }, metadata: { by: "test" } }));
const numbers = (list) => list.map((e) => Number(e.event.revision));

async function collect(stream) {
  const all = [];
  for await (const e of stream) if (e.event) all.push(e);
  return all;
}

// arrived waits until a node that may be behind has n events of a stream.
async function arrived(c, stream, n) {
  const end = Date.now() + 60000;
  for (;;) {
    try {
      const got = await collect(c.readStream(stream, { direction: FORWARDS, fromRevision: START, maxCount: 1000 }));
      if (got.length >= n) return got;
    } catch (e) {
      if (!(e instanceof client.StreamNotFoundError)) throw e;
    }
    assert.ok(Date.now() < end, `${n} events of ${stream} did not arrive in 60 s`);
    await new Promise((r) => setTimeout(r, 10));
  }
}

// take resolves with the next n events of a subscription.
function take(subscription, n) {
  return new Promise((resolve, reject) => {
    const got = [];
    const timer = setTimeout(() => reject(new Error(`only ${got.length} of ${n} events in 60 s`)), 60000);
    subscription.on("error", (e) => { clearTimeout(timer); reject(e); });
    subscription.on("data", (e) => {
      if (!e.event) return;
      got.push(e);
      if (got.length === n) { clearTimeout(timer); resolve(got); }
    });
  });
}

const cases = [];
const test = (name, run) => cases.push({ name, run });

test("append, single and many", async () => {
  const c = cluster();
  const s = newStream();
  const one = await c.appendToStream(s, events(1), expecting(NO_STREAM));
  assert.equal(one.success, true);
  assert.equal(one.nextExpectedRevision, 0n);
  const many = await c.appendToStream(s, events(50), expecting(0n));
  assert.equal(many.nextExpectedRevision, 50n);
  assert.ok(many.position.commit > one.position.commit);
  await c.dispose();
});

test("batch append of more than one message", async () => {
  const c = cluster();
  const s = newStream();
  const r = await c.appendToStream(s, events(500), { ...expecting(NO_STREAM), batchAppendSize: 4096 });
  assert.equal(r.nextExpectedRevision, 499n);
  assert.equal((await arrived(c, s, 500)).length, 500);
  await c.dispose();
});

for (const [role, address] of Object.entries(nodes)) {
  test(`read both ways on the ${role}`, async () => {
    const w = cluster();
    const s = newStream();
    const written = events(12);
    await w.appendToStream(s, written, expecting(NO_STREAM));
    const c = direct(address, "&nodePreference=random");
    await arrived(isOld ? c : w, s, 12);
    const from = isOld ? c : w; // the newer client always asks for the leader
    const forwards = await collect(from.readStream(s, { direction: FORWARDS, fromRevision: START, maxCount: 100 }));
    assert.deepEqual(numbers(forwards), [...Array(12).keys()]);
    assert.deepEqual(forwards.map((e) => e.event.id), written.map((e) => e.id));
    assert.deepEqual(forwards[3].event.data, { n: 3 });
    assert.deepEqual(forwards[3].event.metadata, { by: "test" });
    const backwards = await collect(from.readStream(s, { direction: BACKWARDS, fromRevision: END, maxCount: 5 }));
    assert.deepEqual(numbers(backwards), [11, 10, 9, 8, 7]);
    const middle = await collect(from.readStream(s, { direction: FORWARDS, fromRevision: 4n, maxCount: 3 }));
    assert.deepEqual(numbers(middle), [4, 5, 6]);
    await c.dispose();
    await w.dispose();
  });

  test(`$all both ways on the ${role}`, async () => {
    const w = cluster();
    const s = newStream();
    await w.appendToStream(s, events(5), expecting(NO_STREAM));
    const c = isOld ? direct(address, "&nodePreference=random") : w;
    await arrived(c, s, 5);
    const all = await collect(c.readAll({ direction: FORWARDS, fromPosition: START, maxCount: 100000 }));
    assert.deepEqual(numbers(all.filter((e) => e.event.streamId === s)), [0, 1, 2, 3, 4]);
    for (let i = 1; i < all.length; i++) assert.ok(all[i].event.position.commit >= all[i - 1].event.position.commit);
    const back = await collect(c.readAll({ direction: BACKWARDS, fromPosition: END, maxCount: 200 }));
    for (let i = 1; i < back.length; i++) assert.ok(back[i].event.position.commit <= back[i - 1].event.position.commit);
    await c.dispose();
    if (c !== w) await w.dispose();
  });

  test(`subscription to a stream from the ${role}: past and live`, async () => {
    const w = cluster();
    const s = newStream();
    await w.appendToStream(s, events(6), expecting(NO_STREAM));
    const c = direct(address, "&nodePreference=random");
    const sub = c.subscribeToStream(s, { fromRevision: START, requiresLeader: false });
    const got = take(sub, 10);
    await w.appendToStream(s, events(4), expecting(5n));
    assert.deepEqual(numbers(await got), [...Array(10).keys()]);
    await sub.unsubscribe();
    await c.dispose();
    await w.dispose();
  });

  test(`filtered subscription to $all from the ${role}`, async () => {
    const w = cluster();
    const s = newStream();
    await w.appendToStream(s, events(3, "wanted-" + s), expecting(NO_STREAM));
    await w.appendToStream(newStream(), events(60, "other"), expecting(ANY));
    const c = direct(address, "&nodePreference=random");
    let checkpoints = 0;
    const sub = c.subscribeToAll({
      fromPosition: START,
      requiresLeader: false,
      filter: client.eventTypeFilter({
        prefixes: ["wanted-" + s], maxSearchWindow: 10, checkpointInterval: 1,
        checkpointReached: async () => { checkpoints++; },
      }),
    });
    const got = take(sub, 5);
    await w.appendToStream(s, events(2, "wanted-" + s), expecting(ANY));
    assert.ok((await got).every((e) => e.event.type === "wanted-" + s));
    assert.ok(checkpoints > 0, "no checkpoint");
    await sub.unsubscribe();
    await c.dispose();
    await w.dispose();
  });
}

test("filters by stream name and by regular expression", async () => {
  const c = cluster();
  const s = newStream();
  await c.appendToStream(s, events(3, "t"), expecting(NO_STREAM));
  for (const filter of [client.streamNameFilter({ prefixes: [s] }), client.streamNameFilter({ regex: `^${s}$` })]) {
    const sub = c.subscribeToAll({ fromPosition: START, filter });
    assert.ok((await take(sub, 3)).every((e) => e.event.streamId === s));
    await sub.unsubscribe();
  }
  await c.dispose();
});

test("wrong expected revision", async () => {
  const c = cluster();
  const s = newStream();
  await c.appendToStream(s, events(3), expecting(NO_STREAM));
  for (const state of [NO_STREAM, 0n, 9n]) {
    await assert.rejects(c.appendToStream(s, events(1), expecting(state)), (e) => {
      assert.ok(e instanceof client.WrongExpectedVersionError, `got ${e}`);
      return true;
    });
  }
  await assert.rejects(c.appendToStream(newStream(), events(1), expecting(STREAM_EXISTS)), client.WrongExpectedVersionError);
  await c.dispose();
});

test("a repeated append is stored once", async () => {
  const c = cluster();
  const s = newStream();
  const written = events(3);
  const a = await c.appendToStream(s, written, expecting(NO_STREAM));
  const b = await c.appendToStream(s, written, expecting(NO_STREAM));
  assert.equal(a.nextExpectedRevision, b.nextExpectedRevision);
  assert.equal((await arrived(c, s, 3)).length, 3);
  await c.dispose();
});

test("binary events and empty data", async () => {
  const c = cluster();
  const s = newStream();
  await c.appendToStream(s, [
    binaryEvent({ type: "raw", data: new Uint8Array([0, 1, 254, 255]) }),
    binaryEvent({ type: "none", data: new Uint8Array(0) }),
  ], expecting(NO_STREAM));
  const got = await arrived(c, s, 2);
  assert.deepEqual([...got[0].event.data], [0, 1, 254, 255]);
  assert.equal(got[0].event.isJson, false);
  assert.equal(got[1].event.data.length, 0);
  await c.dispose();
});

test("delete, then append again", async () => {
  const c = cluster();
  const s = newStream();
  await c.appendToStream(s, events(3), expecting(NO_STREAM));
  await assert.rejects(c.deleteStream(s, { expectedRevision: 7n, streamState: 7n }), client.WrongExpectedVersionError);
  const r = await c.deleteStream(s, { expectedRevision: 2n, streamState: 2n });
  assert.ok(r.position.commit > 0n);
  await assert.rejects(collect(c.readStream(s)), client.StreamNotFoundError);
  const again = await c.appendToStream(s, events(1), expecting(ANY));
  assert.equal(again.nextExpectedRevision, 3n);
  await c.dispose();
});

test("tombstone is for good", async () => {
  const c = cluster();
  const s = newStream();
  await c.appendToStream(s, events(1), expecting(NO_STREAM));
  await c.tombstoneStream(s, expecting(ANY));
  await assert.rejects(c.appendToStream(s, events(1), expecting(ANY)), client.StreamDeletedError);
  await assert.rejects(collect(c.readStream(s)), client.StreamDeletedError);
  await c.dispose();
});

test("metadata limits what is read", async () => {
  const c = cluster();
  const s = newStream();
  await c.appendToStream(s, events(8), expecting(NO_STREAM));
  await c.setStreamMetadata(s, { maxCount: 3 }, {});
  assert.equal((await c.getStreamMetadata(s)).metadata.maxCount, 3);
  assert.deepEqual(numbers(await collect(c.readStream(s))), [5, 6, 7]);
  await c.dispose();
});

test("a missing stream is not found", async () => {
  const c = cluster();
  await assert.rejects(collect(c.readStream(newStream())), client.StreamNotFoundError);
  await c.dispose();
});

// The clients spell the third preference differently.
for (const preference of ["leader", "follower", isOld ? "read_only_replica" : "readOnlyReplica", "random"]) {
  test(`discovery by gossip, preferring ${preference}`, async () => {
    const c = cluster(`&nodePreference=${preference}`);
    const s = newStream();
    // An append that must go to the leader is refused elsewhere; the refusal makes the client connect to the leader.
    const written = events(1);
    const options = { ...expecting(NO_STREAM), requiresLeader: true };
    const r = await c.appendToStream(s, written, options).catch((e) => {
      assert.ok(e instanceof client.NotLeaderError, `got ${e}`);
      return c.appendToStream(s, written, options);
    });
    assert.equal(r.success, true);
    await c.dispose();
  });
}

test("an append that requires the leader names it when refused", async () => {
  const c = direct(follower, "&nodePreference=random");
  try {
    await c.appendToStream(newStream(), events(1), { ...expecting(NO_STREAM), requiresLeader: true });
  } catch (e) {
    assert.ok(e instanceof client.NotLeaderError, `got ${e}`);
    assert.equal(`${e.leader.address}:${e.leader.port}`, leader);
  }
  await c.dispose();
});

require("./persistent.js")({ test, client, cluster, direct, events, newStream, expecting, nodes, isOld });
require("./projections.js")({ test, client, direct, events, newStream, expecting, nodes });

(async () => {
  for (const c of cases) {
    const line = { name: c.name, ok: true, error: "" };
    let timer;
    try {
      await Promise.race([
        c.run(),
        new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("no end after 60 s")), 60000); }),
      ]);
    } catch (e) {
      line.ok = false;
      line.error = String((e && e.stack) || e);
    }
    clearTimeout(timer);
    process.stdout.write(JSON.stringify(line) + "\n");
  }
  process.exit(0);
})();
