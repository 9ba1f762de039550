import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ClientClosed,
  ConnectFailed,
  ConnectionLost,
  FilesNotServed,
  NotThisProtocol,
  RequestTimeout,
  StreamOverrun,
  TokenRefused,
} from "../src/errors.js";
import { b64url, sha256, text, utf8 } from "../src/bytes.js";
import { Emitter } from "../src/events.js";
import { verifyJws } from "../src/jose.js";
import { DeviceKey } from "../src/keys.js";
import { made, pulled, until } from "./made_client.js";
import { ManualClock, settled } from "./manual_clock.js";
import { lettingIn, oddServer } from "./odd_server.js";

const SPACE = "0b4c7c7e-8a0a-4a52-9a0e-0a2f6f1d5a01";
const begin = { space: SPACE, prev: 0, cursor: 5, key_generation: 1 };
const commit = { space: SPACE, prev: 0, cursor: 5 };
/** @param {string} id @param {string} name @param {object} data */
const chunk = (id, name, data) => ({ type: 3, id, name, data });
/** @param {string} id @param {number} at */
const record = (id, at) =>
  chunk(id, "pull.record", { space: SPACE, id: `r${at}`, blob: new Uint8Array(100), cursor: at });

/**
 * A client whose time stands still, and a server that answers as a test says.
 *
 * @param {import("node:test").TestContext} t
 * @param {import("./odd_server.js").OnFrame} onFrame
 * @param {Partial<import("../src/sync_client.js").SyncClientOptions>} [options]
 * @param {Parameters<typeof oddServer>[2]} [how]
 */
async function odd(t, onFrame, options = {}, how = {}) {
  const { server, connections } = await oddServer(t, onFrame, how);
  const clock = new ManualClock();
  let waits = 0;
  let known = 0;
  // Each wait draws one random number.
  const random = () => ((waits += 1), 1);
  /** The client's next wait, which then passes. */
  const wait = async () => {
    await until(() => waits > known);
    known += 1;
    const { pending } = clock;
    await clock.advance(pending[0] ?? 0);
    return pending;
  };
  return { clock, connections, wait, ...made(t, { server, token: "a.b.c", clock, random, ...options }) };
}

for (const code of [1000, 1001, 1011, 1013, 4001, 4003, 4005, 4006, 4007]) {
  test(`a server that takes a connection and closes it with ${code} is asked ever more seldom`, async (t) => {
    const hit = async (/** @type {any} */ connection, /** @type {any} */ frame) => {
      if (frame.method === "auth") connection.close(code, "a reason");
    };
    const { client, connections, wait } = await odd(t, hit);
    void client.open();
    const waits = [];
    for (let attempt = 1; attempt <= 7; attempt++) {
      waits.push(...(await wait()));
    }
    assert.deepEqual(waits, [1300, 2600, 5200, 10_400, 20_800, 39_000, 39_000]);
    await until(() => connections.length === 8);
    const trouble = client.trouble;
    assert.ok(trouble instanceof ConnectionLost);
    assert.deepEqual([trouble.closeCode, trouble.reason, client.state], [code, "a reason", "connecting"]);
  });
}

for (const code of [4000, 4002]) {
  test(`after ${code} the client never comes back by itself`, async (t) => {
    const hit = (/** @type {any} */ connection, /** @type {any} */ frame) => {
      if (frame.method === "auth") connection.close(code, "no");
    };
    const { client, clock, connections, states } = await odd(t, hit);
    await assert.rejects(client.open(), TokenRefused);
    await clock.advance(86_400_000);
    assert.deepEqual([connections.length, clock.pending, client.state], [1, [], "refused"]);
    assert.deepEqual(states, ["connecting", "refused"]);
    assert.equal(client.trouble?.message, "the server refused the token: no");
  });
}

test("a refusal in the middle of a connection is one as well, and calls under way end in it", async (t) => {
  const { client, connections } = await odd(t, lettingIn);
  await client.open();
  const under = client.invitationList();
  await until(() => connections[0]?.frames.length === 3);
  connections[0]?.close(4000, "expired auth token");
  await assert.rejects(under, TokenRefused);
  assert.equal(client.state, "refused");
});

test("the wait begins anew only after an authenticated answer", async (t) => {
  let lets = false;
  const { client, connections, wait } = await odd(t, (connection, frame) => {
    if (frame.method === "auth" && !lets) connection.close(1011);
    else if (lets) lettingIn(connection, frame);
  });
  void client.open();
  assert.deepEqual([await wait(), await wait()], [[1300], [2600]]);
  lets = true;
  await until(() => client.state === "online");
  lets = false;
  connections[2]?.close(1011);
  assert.deepEqual([await wait(), await wait()], [[1300], [2600]]);
});

test("an expired token is renewed at once, but not in a circle", async (t) => {
  const { client, clock, connections, wait } = await odd(t, lettingIn);
  await client.open();
  await clock.advance(5000);
  connections[0]?.close(4001, "token expired");
  await until(() => client.state === "connecting");
  assert.deepEqual(clock.pending, [0]);
  await clock.advance(0);
  await until(() => client.state === "online");
  connections[1]?.close(4001, "token expired");
  assert.deepEqual(await wait(), [1300]);
});

test("auth is the first frame, and subscribe follows it without an answer", async (t) => {
  const { client, connections } = await odd(t, () => {});
  void client.open();
  await until(() => connections[0]?.frames.length === 2);
  assert.deepEqual(JSON.parse(JSON.stringify(connections[0]?.frames)), [
    { type: 2, method: "auth", params: { token: "a.b.c" } },
    { type: 0, id: "c1", method: "subscribe", params: { spaces: [] } },
  ]);
  assert.equal(client.state, "connecting");
});

test("a device proves its DID with each token, and shows a new proof over HTTP", async (t) => {
  const device = await DeviceKey.generate();
  const { server, connections, http } = await oddServer(t, lettingIn);
  /** @type {string[]} */
  const shown = [];
  http.prependListener("request", ({ headers }) => void shown.push(String(headers["x-did-proof"])));
  const { client } = made(t, { server, token: "a.b.c", device });
  await client.open();
  await assert.rejects(client.files.get(SPACE, SPACE), FilesNotServed);
  const { did_proof } = connections[0]?.frames[0].params;
  for (const proof of [did_proof, ...shown]) {
    const claims = JSON.parse(text(await verifyJws(proof, device.did, "less-sync-did-proof")));
    assert.deepEqual([claims.iss, claims.ath], [device.did, b64url(await sha256(utf8("a.b.c")))]);
  }
  assert.equal(shown.length, 1);
});

test("a connection on which nothing arrives for 75 s is dead, and a keepalive is enough", async (t) => {
  const { client, clock, connections } = await odd(t, lettingIn);
  await client.open();
  await clock.advance(74_000);
  connections[0]?.binary(new Uint8Array([0xf6]));
  await until(() => connections[0]?.socket.writableLength === 0);
  await new Promise((resolve) => setTimeout(resolve, 20));
  await clock.advance(74_000);
  assert.equal(client.state, "online");
  const under = client.invitationList();
  const lost = assert.rejects(under, ConnectionLost);
  await clock.advance(1000);
  await lost;
  assert.equal(client.state, "connecting");
});

test("a server that takes the TCP connection and says nothing is given up after 10 s", async (t) => {
  const { client, clock, connections } = await odd(t, () => {}, {}, { upgrade: false });
  void client.open();
  await until(() => connections.length === 1);
  await clock.advance(10_000);
  assert.ok(client.trouble instanceof ConnectFailed);
  assert.deepEqual(clock.pending, [1300]);
});

test("a server that never answers the first request is given up after 30 s", async (t) => {
  const { client, clock, connections } = await odd(t, () => {});
  void client.open();
  await until(() => connections[0]?.frames.length === 2);
  await clock.advance(30_000);
  assert.ok(client.trouble instanceof RequestTimeout);
  assert.deepEqual(clock.pending, [1300]);
});

test("a call has 30 s for its answer, and one that comes later is nobody's", async (t) => {
  const { client, clock, connections } = await odd(t, lettingIn);
  await client.open();
  const late = assert.rejects(client.invitationList(), RequestTimeout);
  await until(() => connections[0]?.frames.length === 3);
  await clock.advance(30_000);
  await late;
  connections[0]?.answer("c2", { invitations: [] });
  const next = client.invitationList();
  await until(() => connections[0]?.frames.length === 4);
  connections[0]?.answer("c3", { invitations: [] });
  assert.deepEqual(await next, []);
});

test("a call waits 30 s for a connection", async (t) => {
  const { client, clock, connections } = await odd(t, () => {}, {}, { upgrade: false });
  void client.open();
  const waits = assert.rejects(client.push(SPACE, []), ConnectFailed);
  await until(() => connections.length === 1);
  await clock.advance(30_000);
  await waits;
});

test("answers to nobody, of another kind, or of a type that is new change nothing", async (t) => {
  const { client, connections } = await odd(t, (connection, frame) => {
    lettingIn(connection, frame);
    if (frame.method !== "invitation.list") return;
    connection.answer("c77", { invitations: "x" });
    connection.send({ type: 9, id: frame.id, result: 1 });
    connection.send(chunk(frame.id, "pull.record", {}));
    connection.send(chunk("nobody", "odd", {}));
    connection.binary(new Uint8Array([0xf6]));
    connection.binary(new Uint8Array(0));
    connection.raw(0x81, new TextEncoder().encode("a text"));
    connection.answer(frame.id, { invitations: [], more: 1 });
    connection.answer(frame.id, { invitations: [{}] });
  });
  await client.open();
  assert.deepEqual(await client.invitationList(), []);
  assert.deepEqual([client.state, connections.length], ["online", 1]);
});

const GARBAGE = {
  "no CBOR": [0xff, 0xff],
  "a list": [0x80],
  "bytes behind": [0xa0, 0x00],
  "a response without id": [0xa1, 0x64, 0x74, 0x79, 0x70, 0x65, 0x01],
  "a chunk without name": [0xa2, 0x64, 0x74, 0x79, 0x70, 0x65, 0x03, 0x62, 0x69, 0x64, 0x61, 0x78],
  "a notification without method": [0xa1, 0x64, 0x74, 0x79, 0x70, 0x65, 0x02],
  "4 MiB and a byte": new Uint8Array(4 * 1024 * 1024 + 1).fill(0xf6),
};

for (const [name, bytes] of Object.entries(GARBAGE)) {
  test(`a frame that is none ends the connection, and the next one is made: ${name}`, async (t) => {
    const { client, connections, wait } = await odd(t, lettingIn);
    await client.open();
    const under = assert.rejects(client.invitationList(), NotThisProtocol);
    connections[0]?.binary(new Uint8Array(bytes));
    await under;
    assert.deepEqual(await wait(), [1300]);
    await until(() => client.state === "online");
  });
}

test("a server that speaks none of the subprotocols is no server of ours", async (t) => {
  const { client, clock, connections } = await odd(t, () => {}, {}, { protocol: "" });
  void client.open();
  await until(() => client.trouble !== undefined);
  assert.deepEqual([client.state, clock.pending], ["connecting", [1300]]);
  assert.equal(connections.length, 1);
});

test("results of another shape are told, and end nothing", async (t) => {
  const { client, connections } = await odd(t, (connection, frame) => {
    lettingIn(connection, frame);
    if (frame.type !== 0 || frame.method === "subscribe") return;
    connection.answer(frame.id, { ok: 1, cursor: "5", invitations: {}, entries: [{}], id: 3 });
  });
  await client.open();
  await assert.rejects(client.push(SPACE, []), NotThisProtocol);
  await assert.rejects(client.invitationList(), NotThisProtocol);
  await assert.rejects(client.membershipList(SPACE), NotThisProtocol);
  await assert.rejects(client.invitationGet("x"), NotThisProtocol);
  await assert.rejects(pulled(client, SPACE, 0), NotThisProtocol);
  assert.deepEqual([client.state, connections.length], ["online", 1]);
});

const ENTRY = ["pull.record", { space: SPACE, id: "r", cursor: 5 }];
const PULLS = {
  "a commit that counts otherwise": [["pull.begin", begin], ["pull.commit", { ...commit, count: 1 }]],
  "no commit": [["pull.begin", begin]],
  "no begin": [["pull.commit", { ...commit, count: 0 }]],
  "two begins": [["pull.begin", begin], ["pull.begin", begin], ["pull.commit", { ...commit, count: 0 }]],
  "an entry twice": [["pull.begin", begin], ENTRY, ENTRY, ["pull.commit", { ...commit, count: 2 }]],
  "entries out of order": [
    ["pull.begin", begin], ENTRY, ["pull.record", { space: SPACE, id: "s", cursor: 4 }],
    ["pull.commit", { ...commit, count: 2 }],
  ],
  "an entry behind the commit": [["pull.begin", begin], ["pull.commit", { ...commit, count: 0 }], ENTRY],
  "a record that is none": [["pull.begin", begin], ["pull.record", { id: 1 }]],
  "a begin that is none": [["pull.begin", { ...begin, cursor: 1n << 60n }]],
};

for (const [name, chunks] of Object.entries(PULLS)) {
  test(`a pull that does not add up is told: ${name}`, async (t) => {
    const { client } = await odd(t, (connection, frame) => {
      lettingIn(connection, frame);
      if (frame.method !== "pull") return;
      for (const [named, data] of chunks) connection.send(chunk(frame.id, String(named), Object(data)));
      connection.answer(frame.id, { _chunks: chunks.length });
    });
    await client.open();
    await assert.rejects(pulled(client, SPACE, 0), NotThisProtocol);
  });
}

test("chunks that come twice, or are missing, are noticed", async (t) => {
  for (const sent of [2, 4]) {
    const { client } = await odd(t, (connection, frame) => {
      lettingIn(connection, frame);
      if (frame.method !== "pull") return;
      connection.send(chunk(frame.id, "pull.begin", begin));
      for (let count = 2; count < sent; count++) connection.send(record(frame.id, 5));
      connection.send(chunk(frame.id, "pull.commit", { ...commit, count: sent - 2 }));
      connection.answer(frame.id, { _chunks: 3 });
    });
    await client.open();
    await assert.rejects(pulled(client, SPACE, 0), NotThisProtocol);
  }
});

test("a stream that never ends holds a bounded number of chunks", async (t) => {
  const limits = { chunksWaiting: 100, pullResumptions: 0 };
  const { client, connections } = await odd(
    t,
    (connection, frame) => {
      lettingIn(connection, frame);
      if (frame.method !== "pull") return;
      connection.send(chunk(frame.id, "pull.begin", begin));
      for (let at = 1; at <= 1000; at++) connection.send(record(frame.id, at));
      connection.send({ type: 2, method: "invitation", params: {} });
    },
    { limits },
  );
  await client.open();
  const stream = client.pull(SPACE, 0);
  assert.equal((await stream.next()).done, false);
  const all = new Promise((resolve) => client.on("notice", resolve));
  await all;
  let taken = 0;
  // What was kept is given first; then the pull asks again from there, as it got on.
  for (let next = await stream.next(); taken < 90 && !next.done; next = await stream.next()) taken += 1;
  await stream.return();
  assert.equal(taken, 90);
  await settled();
  assert.equal(connections[0]?.frames.filter(({ method }) => method === "pull").length, 1);
});

test("close ends a stream, once what came is taken", async (t) => {
  const { client } = await odd(t, (connection, frame) => {
    lettingIn(connection, frame);
    if (frame.method === "pull") connection.send(chunk(frame.id, "pull.begin", begin));
  });
  await client.open();
  const stream = client.pull(SPACE, 0);
  assert.equal((await stream.next()).done, false);
  const next = assert.rejects(stream.next(), ClientClosed);
  await client.close();
  await next;
});

test("a pull that overruns again and again without getting on fails", async (t) => {
  const limits = { chunksWaiting: 1, pullResumptions: 2 };
  const { client, connections } = await odd(
    t,
    (connection, frame) => {
      lettingIn(connection, frame);
      if (frame.method !== "pull") return;
      // One segment, so that all of it is there before anybody can take the first.
      connection.socket.cork();
      connection.send(chunk(frame.id, "pull.begin", begin));
      for (let at = 0; at < 100; at++) connection.send(chunk(frame.id, "pull.new", {}));
      connection.socket.uncork();
    },
    { limits },
  );
  await client.open();
  await assert.rejects(pulled(client, SPACE, 0), StreamOverrun);
  assert.equal(connections[0]?.frames.filter(({ method }) => method === "pull").length, 3);
});

test("a stream is given up when no chunk came for 30 s, be it for others", async (t) => {
  const limits = { pullResumptions: 0 };
  const { client, clock, connections } = await odd(t, lettingIn, { limits });
  await client.open();
  const [first, second] = [client.pull(SPACE, 0), client.pull(SPACE, 0)];
  const [one, two] = [first.next(), second.next()];
  await until(() => connections[0]?.frames.length === 4);
  await clock.advance(20_000);
  connections[0]?.send(chunk("c2", "pull.begin", begin));
  assert.equal((await one).done, false);
  const stopped = assert.rejects(two, RequestTimeout);
  await clock.advance(20_000);
  connections[0]?.send(chunk("nobody", "pull.begin", begin));
  connections[0]?.send({ type: 2, method: "invitation", params: {} });
  await new Promise((resolve) => client.on("notice", resolve));
  await clock.advance(29_000);
  assert.equal(client.state, "online");
  await clock.advance(1000);
  await stopped;
});

test("an announcement that cannot be read asks for a pull of every space", async (t) => {
  const { client, connections, notices } = await odd(t, lettingIn);
  await client.open();
  await client.subscribe([{ id: SPACE }, { id: "other" }]);
  connections[0]?.send({ type: 2, method: "sync", params: { space: SPACE } });
  connections[0]?.send({ type: 2, method: "constructor", params: [1] });
  connections[0]?.send({ type: 2, method: "resubscribe", params: { spaces: [SPACE], more: 1 } });
  await until(() => notices.length === 4);
  const reason = "an announcement could not be read";
  assert.deepEqual(notices, [
    { method: "resync", space: SPACE, reason },
    { method: "resync", space: "other", reason },
    { method: "other", name: "constructor", params: [1] },
    { method: "resubscribe", spaces: [SPACE] },
  ]);
});

test("a space that is not taken again after a reconnect is told and forgotten", async (t) => {
  let refuses = false;
  const { client, connections, notices, wait } = await odd(t, (connection, frame) => {
    if (!refuses) lettingIn(connection, frame);
    else if (frame.method === "subscribe") {
      const errors = [{ space: SPACE, error: "forbidden" }];
      connection.answer(frame.id, frame.params.spaces.length > 0 ? { spaces: [], errors } : { spaces: [] });
    }
  });
  await client.open();
  await client.subscribe([{ id: SPACE, ucan: "u" }]);
  refuses = true;
  for (let lost = 0; lost < 2; lost++) {
    connections[lost]?.close(1001);
    await wait();
    await until(() => client.state === "online");
  }
  assert.deepEqual(notices, [{ method: "lost", space: SPACE, error: "forbidden" }]);
  assert.deepEqual(connections[1]?.frames[1].params.spaces[0].ucan, "u");
  assert.deepEqual(connections[2]?.frames[1].params.spaces, []);
});

test("subscriptions with large UCANs are sent in several requests", async (t) => {
  const { client, connections, wait } = await odd(t, lettingIn);
  await client.open();
  const ucan = "u".repeat(60_000);
  const entries = Array.from({ length: 50 }, (_, at) => ({ id: `s${at}`, ucan }));
  await client.subscribe(entries);
  connections[0]?.close(1001);
  await wait();
  await until(() => client.state === "online");
  const sizes = connections[1]?.frames.slice(1).map(({ params }) => params.spaces.length);
  assert.deepEqual(sizes, [34, 16]);
});

test("a listener that fails keeps nobody else from hearing, whether it throws or rejects", async () => {
  /** @type {unknown[]} */
  const told = [];
  /** @type {Emitter<{change: [number]}>} */
  const events = new Emitter((error) => void told.push(error));
  const heard = /** @type {number[]} */ ([]);
  events.on("change", () => {
    throw new Error("one");
  });
  events.on("change", async () => {
    throw new Error("two");
  });
  const hear = (/** @type {number} */ value) => void heard.push(value);
  const off = events.on("change", hear);
  events.on("change", hear);
  events.emit("change", 1);
  off();
  off();
  events.emit("change", 2);
  await settled();
  assert.deepEqual(heard, [1, 1, 2]);
  assert.equal(told.length, 4);
});

test("a listener may pause the client in the middle of anything", async (t) => {
  const { client, clock, connections, states } = await odd(t, lettingIn);
  client.on("state", (state) => state === "connecting" && states.length > 2 && client.pause());
  await client.open();
  connections[0]?.close(1001);
  await until(() => client.state === "offline");
  await clock.advance(3_600_000);
  assert.deepEqual([connections.length, states], [1, ["connecting", "online", "connecting", "offline"]]);
});

test("a client that was never opened, or is closed at once, leaves nothing behind", async (t) => {
  const { client, clock, connections } = await odd(t, lettingIn);
  const opening = assert.rejects(client.open());
  await client.close();
  await opening;
  await settled();
  assert.deepEqual([connections.length, clock.pending], [0, []]);
});
