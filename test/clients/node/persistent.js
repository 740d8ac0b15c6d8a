// Cases about persistent subscriptions; cases.js runs them. `t` holds what the cases there share.
"use strict";
const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");

module.exports = (t) => {
  const { test, client, cluster, direct, events, newStream, expecting, nodes, isOld } = t;
  const { START, END, PARK, RETRY, SKIP, STOP, ANY } = client;
  const ofStream = (changes) => client.persistentSubscriptionToStreamSettingsFromDefaults({ startFrom: START, ...changes });
  const ofAll = (changes) => client.persistentSubscriptionToAllSettingsFromDefaults({ startFrom: START, ...changes });
  const newGroup = () => `group-${randomUUID()}`;
  const number = (e) => e.event.data.n;

  // receiver gathers what a subscription brings; more(n) resolves with the next n events.
  function receiver(subscription) {
    const got = [];
    let wake = () => {};
    let failed;
    subscription.on("data", (e) => { got.push(e); wake(); });
    subscription.on("error", (e) => { failed = e; wake(); });
    const until = async (ready, what) => {
      const end = Date.now() + 20000;
      while (!ready()) {
        if (failed) throw failed;
        assert.ok(Date.now() < end, `${what} in 20 s; ${got.length} events came`);
        await new Promise((r) => { wake = r; setTimeout(r, 200); });
      }
    };
    return {
      more: async (n) => { await until(() => got.length >= n, `no ${n} events`); return got.splice(0, n); },
      error: async () => { try { await until(() => failed, "no error"); } catch (e) { if (e !== failed) throw e; } return failed; },
    };
  }

  async function eventually(what, check) {
    const end = Date.now() + 20000;
    for (;;) {
      const last = await check();
      if (last === true) return;
      assert.ok(Date.now() < end, `${what}: ${JSON.stringify(last, (_, v) => (typeof v === "bigint" ? String(v) : v))}`);
      await new Promise((r) => setTimeout(r, 20));
    }
  }

  // group runs a case with a client at the leader, a new stream of n events and a new group of it.
  const group = (name, n, settings, run) =>
    test(`persistent subscription: ${name}`, async () => {
      const c = direct(nodes.leader);
      const stream = newStream();
      const g = newGroup();
      if (n > 0) await c.appendToStream(stream, events(n), expecting(ANY));
      await c.createPersistentSubscriptionToStream(stream, g, ofStream(settings));
      await run(c, stream, g);
      await c.deletePersistentSubscriptionToStream(stream, g);
      await c.dispose();
    });

  const strategies = { "round robin": "RoundRobin", "dispatch to single": "DispatchToSingle", pinned: "Pinned" };
  if (!isOld) strategies["pinned by correlation"] = "PinnedByCorrelation"; // the older client cannot say it
  for (const [name, strategy] of Object.entries(strategies)) {
    group(`${name} delivers everything to two consumers`, 40, { consumerStrategyName: strategy }, async (c, stream, g) => {
      const seen = new Set();
      const all = new Promise((resolve, reject) => {
        for (let i = 0; i < 2; i++) {
          const s = c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 5 });
          s.on("error", reject);
          s.on("data", async (e) => {
            seen.add(number(e));
            await s.ack(e).catch(() => {});
            if (seen.size === 40) resolve();
          });
        }
      });
      await all;
      const info = await c.getPersistentSubscriptionToStreamInfo(stream, g);
      assert.equal(info.settings.consumerStrategyName, strategy);
    });
  }

  group("no more than the buffer before an acknowledgement", 10, {}, async (c, stream, g) => {
    const s = c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 2 });
    const r = receiver(s);
    const first = await r.more(2);
    const info = await c.getPersistentSubscriptionToStreamInfo(stream, g);
    assert.equal(info.connections[0].availableSlots, 0);
    assert.equal(info.connections[0].inFlightMessages, 2);
    assert.equal(info.stats.totalInFlightMessages, 2);
    await s.ack(...first);
    assert.deepEqual((await r.more(2)).map(number), [2, 3]);
    await s.unsubscribe();
  });

  for (const [what, action, again] of [["park", PARK, false], ["retry", RETRY, true], ["skip", SKIP, false], ["stop", STOP, false]]) {
    group(`${what}`, 2, {}, async (c, stream, g) => {
      const s = c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 1 });
      const r = receiver(s);
      const [first] = await r.more(1);
      await s.nack(action, "a reason", first);
      const [next] = await r.more(1);
      assert.equal(number(next), again ? 0 : 1);
      if (action === PARK) {
        await eventually("one event parked", async () => {
          const info = await c.getPersistentSubscriptionToStreamInfo(stream, g);
          return info.stats.parkedMessageCount === 1n || info;
        });
      }
      await s.unsubscribe();
    });
  }

  group("parked events are replayed", 3, {}, async (c, stream, g) => {
    const s = c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 10 });
    const r = receiver(s);
    await s.nack(PARK, "later", ...(await r.more(3)));
    await eventually("three events parked", async () => {
      const info = await c.getPersistentSubscriptionToStreamInfo(stream, g);
      return info.stats.parkedMessageCount === 3n || info;
    });
    await c.replayParkedMessagesToStream(stream, g, { stopAt: 2 });
    const back = await r.more(2);
    assert.deepEqual(back.map(number), [0, 1]);
    await s.ack(...back);
    await eventually("one event still parked", async () => {
      const info = await c.getPersistentSubscriptionToStreamInfo(stream, g);
      return info.stats.parkedMessageCount === 1n || info;
    });
    await s.unsubscribe();
  });

  group("an event not acknowledged in time comes again", 1, { messageTimeout: 300 }, async (c, stream, g) => {
    const s = c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 1 });
    const r = receiver(s);
    assert.deepEqual((await r.more(2)).map(number), [0, 0]);
    await s.unsubscribe();
  });

  group("what a consumer that left held goes to the next", 3, {}, async (c, stream, g) => {
    const gone = direct(nodes.leader);
    const s = gone.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 10 });
    await receiver(s).more(3);
    await s.unsubscribe();
    await gone.dispose();
    const r = receiver(c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 10 }));
    assert.deepEqual((await r.more(3)).map(number), [0, 1, 2]);
  });

  group("a checkpoint follows the acknowledgements", 5, { checkPointLowerBound: 1, checkPointUpperBound: 1, checkPointAfter: 0 }, async (c, stream, g) => {
    const s = c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 10 });
    const r = receiver(s);
    const got = await r.more(5);
    await s.ack(...got.slice(0, 3));
    await eventually("a checkpoint at 2", async () => {
      const info = await c.getPersistentSubscriptionToStreamInfo(stream, g);
      return (info.stats.lastCheckpointedEventRevision === 2n && info.stats.lastKnownEventRevision === 4n) || info.stats;
    });
    await s.unsubscribe();
  });

  group("info shows the settings", 0, { maxRetryCount: 3, historyBufferSize: 77, readBatchSize: 7, liveBufferSize: 88, messageTimeout: 1234, checkPointAfter: 4321, resolveLinkTos: true },
    async (c, stream, g) => {
      const { settings, groupName, eventSource, status } = await c.getPersistentSubscriptionToStreamInfo(stream, g);
      assert.equal(groupName, g);
      assert.equal(eventSource, stream);
      assert.equal(status, "Live");
      assert.deepEqual(
        [settings.maxRetryCount, settings.historyBufferSize, settings.readBatchSize, settings.liveBufferSize, settings.messageTimeout, settings.checkPointAfter, settings.resolveLinkTos, settings.startFrom],
        [3, 77, 7, 88, 1234, 4321, true, START]);
    });

  group("an update drops consumers and takes effect", 1, {}, async (c, stream, g) => {
    const r = receiver(c.subscribeToPersistentSubscriptionToStream(stream, g, { bufferSize: 1 }));
    await r.more(1);
    await c.updatePersistentSubscriptionToStream(stream, g, ofStream({ maxRetryCount: 4 }));
    assert.ok((await r.error()) instanceof client.PersistentSubscriptionDroppedError);
    const info = await c.getPersistentSubscriptionToStreamInfo(stream, g);
    assert.equal(info.settings.maxRetryCount, 4);
  });

  group("more consumers than allowed are refused", 0, { maxSubscriberCount: 1 }, async (c, stream, g) => {
    const first = c.subscribeToPersistentSubscriptionToStream(stream, g);
    first.on("error", () => {});
    await new Promise((r) => first.once("confirmation", r));
    const second = receiver(c.subscribeToPersistentSubscriptionToStream(stream, g));
    assert.ok((await second.error()) instanceof client.PersistentSubscriptionMaximumSubscribersReachedError);
    await first.unsubscribe();
  });

  group("created twice", 0, {}, async (c, stream, g) => {
    await assert.rejects(c.createPersistentSubscriptionToStream(stream, g, ofStream()), client.PersistentSubscriptionExistsError);
  });

  group("listed", 0, {}, async (c, stream, g) => {
    const of = await c.listPersistentSubscriptionsToStream(stream);
    assert.deepEqual(of.map((i) => i.groupName), [g]);
    assert.ok((await c.listAllPersistentSubscriptions()).some((i) => i.groupName === g && i.eventSource === stream));
  });

  group("from the end gets only what comes", 3, {}, async (c, stream) => {
    const g = newGroup();
    await c.createPersistentSubscriptionToStream(stream, g, ofStream({ startFrom: END }));
    await c.appendToStream(stream, events(1, "late"), expecting(ANY));
    const [e] = await receiver(c.subscribeToPersistentSubscriptionToStream(stream, g)).more(1);
    assert.equal(e.event.type, "late");
  });

  group("from a revision", 5, {}, async (c, stream) => {
    const g = newGroup();
    await c.createPersistentSubscriptionToStream(stream, g, ofStream({ startFrom: 3n }));
    const got = await receiver(c.subscribeToPersistentSubscriptionToStream(stream, g)).more(2);
    assert.deepEqual(got.map(number), [3, 4]);
  });

  for (const [what, call] of Object.entries({
    "info of": (c, s, g) => c.getPersistentSubscriptionToStreamInfo(s, g),
    "update of": (c, s, g) => c.updatePersistentSubscriptionToStream(s, g, ofStream()),
    "delete of": (c, s, g) => c.deletePersistentSubscriptionToStream(s, g),
    "replay of": (c, s, g) => c.replayParkedMessagesToStream(s, g),
    "list of": (c, s) => c.listPersistentSubscriptionsToStream(s),
  })) {
    test(`persistent subscription: ${what} what does not exist`, async () => {
      const c = direct(nodes.leader);
      await assert.rejects(call(c, newStream(), newGroup()), client.PersistentSubscriptionDoesNotExistError);
      await c.dispose();
    });
  }

  test("persistent subscription: consuming what does not exist", async () => {
    const c = direct(nodes.leader);
    const r = receiver(c.subscribeToPersistentSubscriptionToStream(newStream(), newGroup()));
    assert.ok((await r.error()) instanceof client.PersistentSubscriptionDoesNotExistError);
    await c.dispose();
  });

  test("persistent subscription: settings that cannot be are refused", async () => {
    const c = direct(nodes.leader);
    await assert.rejects(c.createPersistentSubscriptionToStream(newStream(), newGroup(), ofStream({ historyBufferSize: 5, readBatchSize: 10 })), client.PersistentSubscriptionFailedError);
    await c.dispose();
  });

  for (const [what, node] of Object.entries({ follower: nodes.follower, clone: nodes.clone })) {
    test(`persistent subscription: a ${what} names the leader`, async () => {
      const c = direct(node, "&nodePreference=random");
      const refused = await c.createPersistentSubscriptionToStream(newStream(), newGroup(), ofStream()).then(() => null, (e) => e);
      assert.ok(refused instanceof client.NotLeaderError, `got ${refused}`);
      await c.dispose();
    });
  }

  test("persistent subscription: the cluster's client finds the leader", async () => {
    const c = cluster();
    const stream = newStream();
    const g = newGroup();
    await c.appendToStream(stream, events(2), expecting(ANY));
    await c.createPersistentSubscriptionToStream(stream, g, ofStream());
    const s = c.subscribeToPersistentSubscriptionToStream(stream, g);
    const got = await receiver(s).more(2);
    await s.ack(...got);
    await c.dispose();
  });

  test("persistent subscription: all streams with a filter on streams", async () => {
    const c = direct(nodes.leader);
    const stream = newStream();
    const g = newGroup();
    await c.createPersistentSubscriptionToAll(g, ofAll(), { filter: client.streamNameFilter({ prefixes: [stream] }) });
    await c.appendToStream(stream, events(3), expecting(ANY));
    await c.appendToStream(newStream(), events(3), expecting(ANY));
    const s = c.subscribeToPersistentSubscriptionToAll(g);
    const got = await receiver(s).more(3);
    assert.ok(got.every((e) => e.event.streamId === stream));
    await s.ack(...got);
    const info = await c.getPersistentSubscriptionToAllInfo(g);
    assert.equal(info.eventSource, "$all");
    assert.equal(info.settings.startFrom, START);
    assert.equal(typeof info.stats.lastKnownEventPosition.commit, "bigint");
    await c.deletePersistentSubscriptionToAll(g);
    await c.dispose();
  });

  test("persistent subscription: all streams with a filter on types", async () => {
    const c = direct(nodes.leader);
    const g = newGroup();
    const type = `type-${randomUUID()}`;
    await c.createPersistentSubscriptionToAll(g, ofAll({ startFrom: END }), { filter: client.eventTypeFilter({ regex: `^${type}$` }) });
    await c.appendToStream(newStream(), [...events(2), ...events(2, type)], expecting(ANY));
    const got = await receiver(c.subscribeToPersistentSubscriptionToAll(g)).more(2);
    assert.ok(got.every((e) => e.event.type === type));
    await c.updatePersistentSubscriptionToAll(g, ofAll({ maxRetryCount: 1 }));
    assert.ok((await c.listPersistentSubscriptionsToAll()).some((i) => i.groupName === g && i.settings.maxRetryCount === 1));
    await c.deletePersistentSubscriptionToAll(g);
    await c.dispose();
  });

  test("persistent subscription: links are resolved", async () => {
    const c = direct(nodes.leader);
    const [source, links] = [newStream(), newStream()];
    const g = newGroup();
    await c.appendToStream(source, events(2), expecting(ANY));
    const link = (to) => client.binaryEvent({ type: "$>", data: Buffer.from(to) });
    await c.appendToStream(links, [link(`1@${source}`), link(`0@${source}`)], expecting(ANY));
    await c.createPersistentSubscriptionToStream(links, g, ofStream({ resolveLinkTos: true }));
    const s = c.subscribeToPersistentSubscriptionToStream(links, g);
    const got = await receiver(s).more(2);
    assert.deepEqual(got.map(number), [1, 0]);
    assert.equal(got[0].link.streamId, links);
    await s.ack(...got);
    await eventually("both are handled", async () => {
      const info = await c.getPersistentSubscriptionToStreamInfo(links, g);
      return info.stats.outstandingMessagesCount === 0 || info.stats;
    });
    await c.dispose();
  });
};
