// Cases about projections; cases.js runs them. `t` holds what the cases there share.
"use strict";
const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");

module.exports = (t) => {
  const { test, client, direct, events, newStream, expecting, nodes } = t;
  const { jsonEvent, FORWARDS, START, ANY } = client;
  const newName = () => `projection-${randomUUID()}`;
  // A category of its own: a dash ends it, and names of streams hold more of them.
  const newCategory = () => `cat${randomUUID().replaceAll("-", "")}`;
  const text = (v) => JSON.stringify(v, (_, x) => (typeof x === "bigint" ? String(x) : x));

  async function eventually(what, check) {
    const end = Date.now() + 25000;
    for (;;) {
      let last;
      try {
        last = await check();
        if (last === true) return;
      } catch (e) {
        last = String(e);
      }
      assert.ok(Date.now() < end, `${what}: ${text(last)}`);
      await new Promise((r) => setTimeout(r, 20));
    }
  }

  const counting = (source) => `${source}.when({
    $init: function () { return { count: 0 }; },
    thing: function (s, e) { s.count += 1; return s; },
  })`;

  const projection = (name, run) =>
    test(`projection: ${name}`, async () => {
      const c = direct(nodes.leader);
      const write = (stream, list) => c.appendToStream(stream, list, expecting(ANY));
      const read = async (stream, options = {}) => {
        const got = [];
        for await (const e of c.readStream(stream, { direction: FORWARDS, fromRevision: START, maxCount: 1000, ...options })) if (e.event || e.link) got.push(e);
        return got;
      };
      const awaits = (stream, check, options) => eventually(`events in ${stream}`, async () => {
        const got = await read(stream, options);
        return check(got) || got.map((e) => (e.event ?? e.link).data);
      });
      const state = (p, want, options) => eventually(`state of ${p}`, async () => {
        const got = await c.getProjectionState(p, options);
        try {
          assert.deepEqual(got, want);
          return true;
        } catch {
          return got;
        }
      });
      const status = (p, want) => eventually(`status of ${p}`, async () => {
        const got = await c.getProjectionStatus(p);
        return got.status === want || got;
      });
      await run({ c, write, read, awaits, state, status, p: newName(), s: newStream() });
      await c.dispose();
    });

  projection("created, it runs", async ({ c, p, s }) => {
    await c.createProjection(p, counting(`fromStream("${s}")`));
    const d = await c.getProjectionStatus(p);
    assert.equal(d.projectionStatus, "Running");
    assert.equal(d.name, p);
    assert.equal(d.effectiveName, p);
    assert.equal(d.version, 0n);
  });

  projection("created twice is refused", async ({ c, p, s }) => {
    await c.createProjection(p, counting(`fromStream("${s}")`));
    await assert.rejects(c.createProjection(p, counting(`fromStream("${s}")`)));
  });

  projection("a program that cannot be read is refused with its place", async ({ c, p }) => {
    await assert.rejects(c.createProjection(p, "fromAll(.when({"), /line 1/);
    await assert.rejects(c.getProjectionStatus(p), client.NotFoundError);
  });

  projection("state counts what was there and what comes", async ({ c, write, state, p, s }) => {
    await write(s, events(5));
    await c.createProjection(p, counting(`fromStream("${s}")`));
    await state(p, { count: 5 });
    await write(s, events(3));
    await write(s, events(2, "other"));
    await state(p, { count: 8 });
  });

  projection("$any takes events of every type", async ({ c, write, state, p, s }) => {
    await write(s, [...events(2), ...events(3, "other")]);
    await c.createProjection(p, `fromStream("${s}").when({ $init: () => ({ n: 0 }), $any: (st, e) => { st.n += e.data.n; return st; } })`);
    await state(p, { n: 4 });
  });

  projection("the result is the state transformed", async ({ c, write, state, p, s }) => {
    await write(s, events(4));
    await c.createProjection(p, `${counting(`fromStream("${s}")`)}.transformBy(function (st) { return { total: st.count * 10 }; }).outputState()`);
    await state(p, { count: 4 });
    assert.deepEqual(await c.getProjectionResult(p), { total: 40 });
  });

  projection("the result without a transformation is the state", async ({ c, write, state, p, s }) => {
    await write(s, events(2));
    await c.createProjection(p, `${counting(`fromStream("${s}")`)}.outputState()`);
    await state(p, { count: 2 });
    assert.deepEqual(await c.getProjectionResult(p), { count: 2 });
  });

  projection("results are written where emit is enabled", async ({ c, write, awaits, p, s }) => {
    await c.createProjection(p, `options({ resultStreamName: "out-${p}" }); ${counting(`fromStream("${s}")`)}.outputState()`, { emitEnabled: true });
    await write(s, events(3));
    await awaits(`out-${p}`, (got) => got.length > 0 && got[got.length - 1].event.data.count === 3 && got[0].event.type === "Result");
  });

  projection("one state for each stream of a category", async ({ c, write, state, p }) => {
    const category = newCategory();
    await write(`${category}-a`, events(2));
    await write(`${category}-b`, events(3));
    await c.createProjection(p, counting(`fromCategory("${category}").foreachStream()`));
    await state(p, { count: 2 }, { partition: `${category}-a` });
    await state(p, { count: 3 }, { partition: `${category}-b` });
  });

  projection("one state for each value the program finds", async ({ c, write, state, p, s }) => {
    await write(s, [1, 2, 1, 1].map((v) => jsonEvent({ type: "thing", data: { who: `u${v}` } })));
    await c.createProjection(p, counting(`fromStream("${s}").partitionBy(function (e) { return e.data.who; })`));
    await state(p, { count: 3 }, { partition: "u1" });
    await state(p, { count: 1 }, { partition: "u2" });
  });

  projection("several streams are read in the order of the log", async ({ c, write, state, p }) => {
    const [a, b] = [newStream(), newStream()];
    for (const [stream, n] of [[a, 1], [b, 2], [a, 3], [b, 4]]) await write(stream, [jsonEvent({ type: "thing", data: { n } })]);
    await c.createProjection(p, `fromStreams(["${a}", "${b}"]).when({ $init: () => ({ seen: [] }), thing: (st, e) => { st.seen.push(e.data.n); return st; } })`);
    await state(p, { seen: [1, 2, 3, 4] });
  });

  projection("all events of a type", async ({ c, write, state, p, s }) => {
    const type = `type-${p}`;
    await write(s, [...events(2, type), ...events(3, "other")]);
    await c.createProjection(p, `fromAll().when({ $init: () => ({ count: 0 }), "${type}": (st) => { st.count += 1; return st; } })`);
    await state(p, { count: 2 });
  });

  projection("emits events", async ({ c, write, awaits, p, s }) => {
    await c.createProjection(p, `fromStream("${s}").when({ thing: function (st, e) { emit("out-${p}", "made", { from: e.data.n }, { by: "it" }); } })`, { emitEnabled: true });
    await write(s, events(3));
    await awaits(`out-${p}`, (got) => got.length === 3 && got.every((e, i) => e.event.type === "made" && e.event.data.from === i && e.event.metadata.by === "it" && e.event.metadata.$causedBy));
  });

  projection("links events", async ({ c, write, awaits, p, s }) => {
    await c.createProjection(p, `fromStream("${s}").when({ thing: function (st, e) { linkTo("links-${p}", e); } })`, { emitEnabled: true });
    await write(s, events(3));
    await awaits(`links-${p}`, (got) => got.length === 3 && got.every((e, i) => e.event.streamId === s && e.event.data.n === i && e.link.streamId === `links-${p}`), { resolveLinkTos: true });
  });

  projection("without the right to emit it is stopped with the reason", async ({ c, write, status, p, s }) => {
    await write(s, events(1));
    await c.createProjection(p, `fromStream("${s}").when({ thing: function () { emit("out-${p}", "made", {}); } })`);
    await status(p, "Faulted");
    assert.match((await c.getProjectionStatus(p)).stateReason, /emit/);
  });

  projection("an update gives it the right to emit", async ({ c, write, status, awaits, p, s }) => {
    const program = `fromStream("${s}").when({ thing: function () { emit("out-${p}", "made", {}); } })`;
    await write(s, events(1));
    await c.createProjection(p, program);
    await status(p, "Faulted");
    await c.updateProjection(p, program, { emitEnabled: true });
    await awaits(`out-${p}`, (got) => got.length === 1);
  });

  projection("a program that throws is stopped with its place", async ({ c, write, status, p, s }) => {
    await write(s, events(1));
    await c.createProjection(p, `fromStream("${s}").when({\n  thing: function (st, e) { throw new Error("not today"); } })`);
    await status(p, "Faulted");
    const { stateReason } = await c.getProjectionStatus(p);
    assert.match(stateReason, /not today/);
    assert.match(stateReason, /line 2/);
  });

  projection("a program that loops for ever is stopped", async ({ c, write, status, p, s }) => {
    await write(s, events(1));
    await c.createProjection(p, `fromStream("${s}").when({ thing: function () { for (;;) {} } })`);
    await status(p, "Faulted");
    assert.match((await c.getProjectionStatus(p)).stateReason, new RegExp(p));
  });

  projection("an update goes on with the state", async ({ c, write, state, p, s }) => {
    await write(s, events(2));
    await c.createProjection(p, counting(`fromStream("${s}")`));
    await state(p, { count: 2 });
    await c.updateProjection(p, counting(`fromStream("${s}")`).replace("+= 1", "+= 100"));
    assert.equal((await c.getProjectionStatus(p)).version, 1n);
    await write(s, events(1));
    await state(p, { count: 102 });
  });

  projection("disabled it stops, enabled it goes on", async ({ c, write, state, p, s }) => {
    await write(s, events(2));
    await c.createProjection(p, counting(`fromStream("${s}")`));
    await state(p, { count: 2 });
    await c.disableProjection(p);
    const d = await c.getProjectionStatus(p);
    assert.equal(d.projectionStatus, "Stopped");
    assert.equal(d.lastCheckpoint, `${s}: 1`);
    await write(s, events(2));
    await state(p, { count: 2 });
    await c.enableProjection(p);
    await state(p, { count: 4 });
  });

  projection("aborted it stops, enabled it counts each event once", async ({ c, write, state, p, s }) => {
    await write(s, events(2));
    await c.createProjection(p, counting(`fromStream("${s}")`));
    await state(p, { count: 2 });
    await c.abortProjection(p);
    assert.equal((await c.getProjectionStatus(p)).status, "Aborted/Stopped");
    await c.enableProjection(p);
    await state(p, { count: 2 });
  });

  projection("reset it begins at the beginning and writes anew", async ({ c, write, state, awaits, p, s }) => {
    await c.createProjection(p, `fromStream("${s}").when({ $init: () => ({ count: 0 }), thing: function (st, e) { st.count += 1; linkTo("links-${p}", e); return st; } })`, { emitEnabled: true });
    await write(s, events(2));
    await awaits(`links-${p}`, (got) => got.length === 2);
    await c.resetProjection(p);
    await state(p, { count: 2 });
    await awaits(`links-${p}`, (got) => got.length === 2 && got.every((e, i) => (e.link ?? e.event).revision === BigInt(i + 2)));
  });

  projection("deleted when it does not run any more", async ({ c, p, s }) => {
    await c.createProjection(p, counting(`fromStream("${s}")`));
    await assert.rejects(c.deleteProjection(p));
    await c.disableProjection(p);
    await c.deleteProjection(p, { deleteCheckpointStream: true, deleteStateStream: true, deleteEmittedStreams: true });
    await assert.rejects(c.getProjectionStatus(p), client.NotFoundError);
    await c.createProjection(p, counting(`fromStream("${s}")`));
  });

  projection("emitted streams that are tracked go with it", async ({ c, write, read, awaits, p, s }) => {
    await c.createProjection(p, `fromStream("${s}").when({ thing: function () { emit("out-${p}", "made", {}); } })`, { emitEnabled: true, trackEmittedStreams: true });
    await write(s, events(1));
    await awaits(`out-${p}`, (got) => got.length === 1);
    await c.disableProjection(p);
    await c.deleteProjection(p, { deleteEmittedStreams: true });
    await assert.rejects(read(`out-${p}`), client.StreamNotFoundError);
  });

  projection("listed among the continuous ones", async ({ c, p, s }) => {
    await c.createProjection(p, counting(`fromStream("${s}")`));
    const names = (await c.listProjections()).map((d) => d.name);
    for (const name of [p, "$by_category", "$by_event_type", "$by_correlation_id", "$stream_by_category", "$streams"]) assert.ok(names.includes(name), name);
  });

  projection("by category", async ({ write, awaits }) => {
    const category = newCategory();
    for (const name of ["a", "b", "a"]) await write(`${category}-${name}`, events(1));
    await awaits(`$ce-${category}`, (got) => got.map((e) => `${e.event.revision}@${e.event.streamId}`).join() === ["0", "0", "1"].map((r, i) => `${r}@${category}-${"aba"[i]}`).join(), { resolveLinkTos: true });
  });

  projection("by event type", async ({ write, awaits, s }) => {
    const type = `type-${randomUUID()}`;
    await write(s, [...events(2, type), ...events(1)]);
    await awaits(`$et-${type}`, (got) => got.length === 2 && got.every((e, i) => e.event.type === type && e.event.data.n === i), { resolveLinkTos: true });
  });

  projection("by correlation id", async ({ write, awaits, s }) => {
    const id = randomUUID();
    await write(s, [jsonEvent({ type: "thing", data: { n: 7 }, metadata: { $correlationId: id } }), ...events(1)]);
    await awaits(`$bc-${id}`, (got) => got.length === 1 && got[0].event.data.n === 7, { resolveLinkTos: true });
  });

  projection("streams of a category", async ({ c, write }) => {
    const category = newCategory();
    for (const name of ["a", "b", "a"]) await write(`${category}-${name}`, events(1));
    await eventually("both streams", async () => {
      const got = [];
      for await (const e of c.readStream(`$category-${category}`, { direction: FORWARDS, fromRevision: START, maxCount: 10 })) if (e.event) got.push(Buffer.from(e.event.data).toString());
      return got.join() === `${category}-a,${category}-b` || got;
    });
  });

  projection("a restart of the subsystem loses nothing", async ({ c, write, state, p, s }) => {
    await write(s, events(2));
    await c.createProjection(p, counting(`fromStream("${s}")`));
    await state(p, { count: 2 });
    await c.restartSubsystem();
    await write(s, events(1));
    await state(p, { count: 3 });
  });

  const commands = {
    enableProjection: (c, p) => c.enableProjection(p), disableProjection: (c, p) => c.disableProjection(p), abortProjection: (c, p) => c.abortProjection(p),
    resetProjection: (c, p) => c.resetProjection(p), deleteProjection: (c, p) => c.deleteProjection(p), updateProjection: (c, p) => c.updateProjection(p, "fromAll()"),
    getProjectionState: (c, p) => c.getProjectionState(p), getProjectionResult: (c, p) => c.getProjectionResult(p), getProjectionStatus: (c, p) => c.getProjectionStatus(p),
  };
  for (const [name, run] of Object.entries(commands)) {
    projection(`${name} of one that does not exist`, async ({ c, p }) => {
      await assert.rejects(run(c, p), client.NotFoundError);
    });
  }

  test("projection: a follower names the leader", async () => {
    const c = direct(nodes.follower, "&nodePreference=random");
    await assert.rejects(c.createProjection(newName(), "fromAll().when({})"), (e) => {
      assert.ok(e instanceof client.NotLeaderError, `got ${e}`);
      assert.equal(`${e.leader.address}:${e.leader.port}`, nodes.leader);
      return true;
    });
    await c.dispose();
  });
};
