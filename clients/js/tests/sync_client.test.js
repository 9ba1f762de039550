import assert from "node:assert/strict";
import { test } from "node:test";
import { concat, randomBytes, randomUuid, sha256, u32be, utf8 } from "../src/bytes.js";
import { splitChanges } from "../src/calls.js";
import {
  AccessLost,
  ClientClosed,
  ConnectFailed,
  ConnectionLost,
  FrameTooLarge,
  RequestFailed,
  TokenRefused,
  TokenUnavailable,
} from "../src/errors.js";
import { decodeDid } from "../src/did.js";
import { DeviceKey } from "../src/keys.js";
import { issueRoot } from "../src/ucan.js";
import { made, pulled, until } from "./made_client.js";
import { account, connections, cut, server, token } from "./server.js";

const SOON = { backoffFirstMs: 20 };

/** A wrapped key of an epoch, as the server sees one. @param {number} epoch */
const dek = (epoch) => concat(u32be(epoch), randomBytes(40));

/** @param {number} count @param {number} size */
const records = (count, size) =>
  Array.from({ length: count }, () => ({ id: randomUuid(), blob: new Uint8Array(size), expected_cursor: 0 }));

test("what one client pushes another hears of and pulls", async (t) => {
  const { token, space } = await account("wire-a");
  const [one, two] = [made(t, { server, token }), made(t, { server, token })];
  await Promise.all([one.client.open(), two.client.open()]);
  const answer = await two.client.subscribe([{ id: space }]);
  assert.deepEqual(answer, { spaces: [{ id: space, cursor: 0, key_generation: 1 }], errors: [] });
  const change = { id: randomUuid(), blob: randomBytes(50), dek: dek(1), expected_cursor: 0 };
  assert.deepEqual(await one.client.push(space, [change]), { ok: true, cursor: 1 });
  assert.deepEqual(await one.client.push(space, [change]), { ok: false, error: "conflict" });
  const gone = await one.client.push(space, [{ id: change.id, expected_cursor: 1 }]);
  assert.deepEqual(gone, { ok: true, cursor: 2 });
  await until(() => two.notices.length === 2);
  const { expected_cursor, ...written } = { ...change, cursor: 1 };
  const deleted = { id: change.id, cursor: 2, deleted: true };
  assert.deepEqual(two.notices, [
    { method: "sync", space, prev: 0, cursor: 1, key_generation: 1, records: [written] },
    { method: "sync", space, prev: 1, cursor: 2, key_generation: 1, records: [deleted] },
  ]);
  assert.deepEqual(await pulled(two.client, space, 1), [
    { kind: "begin", space, prev: 1, cursor: 2, key_generation: 1 },
    { kind: "record", space, ...deleted },
    { kind: "commit", space, prev: 1, cursor: 2, count: 1 },
  ]);
  assert.deepEqual([one.states, one.notices], [["connecting", "online"], []]);
});

test("after a cut the client comes back, subscribes again and asks for a pull of each space", async (t) => {
  const { token, space } = await account("wire-b");
  let asked = 0;
  const source = async () => ((asked += 1), token);
  const { client, notices, states } = made(t, { server, token: source, limits: SOON });
  await client.open();
  await client.subscribe([{ id: space }]);
  await cut();
  await until(() => notices.length > 0);
  const resync = { method: "resync", space, reason: "reconnected", cursor: 0, key_generation: 1 };
  assert.deepEqual(notices, [resync]);
  assert.deepEqual(states, ["connecting", "online", "connecting", "online"]);
  assert.equal(asked, 2);
  const other = made(t, { server, token });
  await other.client.open();
  await other.client.push(space, records(1, 10));
  await until(() => notices.length === 2);
  assert.equal(notices[1]?.method, "sync");
});

test("who has unsubscribed hears nothing more, after a reconnect either", async (t) => {
  const { token, space } = await account("wire-c");
  const reader = made(t, { server, token, limits: SOON });
  const writer = made(t, { server, token, limits: SOON });
  await Promise.all([reader.client.open(), writer.client.open()]);
  await reader.client.subscribe([{ id: space }]);
  await reader.client.unsubscribe([space]);
  await reader.client.info().catch(() => {}); // answered after the unsubscribe was taken
  await writer.client.push(space, records(1, 10));
  await cut();
  await until(() => reader.client.state === "online" && reader.states.length === 4);
  await writer.client.push(space, records(1, 10));
  assert.equal((await pulled(reader.client, space, 0)).length, 4);
  assert.deepEqual(reader.notices, []);
});

test("a pull that is cut goes on where it broke and repeats nothing", async (t) => {
  const { token, space } = await account("wire-d");
  const { client } = made(t, { server, token, limits: SOON });
  await client.open();
  for (const batch of splitChanges(records(40, 200_000))) {
    assert.equal((await client.push(space, batch)).ok, true);
  }
  const [seen, begins] = [/** @type {string[]} */ ([]), /** @type {number[]} */ ([])];
  for await (const event of client.pull(space, 0)) {
    if (event.kind === "begin") begins.push(event.prev);
    if (event.kind !== "record") continue;
    seen.push(event.id);
    if (seen.length === 3) await cut();
  }
  assert.equal(new Set(seen).size, 40);
  assert.equal(seen.length, 40);
  assert.ok(begins.length <= 2, "the pull was resumed at most once");
});

test("a pull whose consumer is slow misses nothing, though little is kept for it", async (t) => {
  const { token, space } = await account("wire-n");
  let messages = 0;
  class Counting extends WebSocket {
    /** @param {string | URL} url @param {string | string[]} [protocols] */
    constructor(url, protocols) {
      super(url, protocols);
      this.addEventListener("message", () => (messages += 1));
    }
  }
  const { client } = made(t, { server, token, limits: { chunksWaiting: 400 }, WebSocket: Counting });
  await client.open();
  // 300 share a cursor: what is asked for again begins with some that have come.
  const changes = records(900, 1000);
  for (let at = 0; at < 900; at += 300) await client.push(space, changes.slice(at, at + 300));
  const [seen, begins] = [/** @type {string[]} */ ([]), /** @type {number[]} */ ([])];
  for await (const event of client.pull(space, 0)) {
    if (event.kind === "begin") begins.push(event.prev);
    if (event.kind === "record") seen.push(event.id);
    if (seen.length === 1) await until(() => messages > 500); // more than is kept has come by then
  }
  assert.equal(seen.length, 900);
  assert.deepEqual(seen.sort(), changes.map(({ id }) => id).sort());
  assert.ok(begins.length > 1, "there was more than is kept");
});

test("a refused token ends all attempts until another one is there", async (t) => {
  const good = await account("wire-e");
  let current = await token("wire-e", { exp_in: -10 });
  const { client, states } = made(t, { server, token: () => current, limits: SOON });
  await assert.rejects(client.open(), (error) => {
    assert.ok(error instanceof TokenRefused);
    assert.deepEqual([error.code, error.closeCode], ["token_refused", 4000]);
    assert.equal(error.reason, "expired auth token");
    return true;
  });
  assert.equal(client.state, "refused");
  await assert.rejects(client.push(good.space, []), TokenRefused);
  current = good.token;
  client.resume();
  assert.deepEqual(await client.push(good.space, []), { ok: true });
  assert.deepEqual(states, ["connecting", "refused", "connecting", "online"]);
});

test("a token source is told the DID of the device", async (t) => {
  const device = await DeviceKey.generate();
  const source = async (/** @type {string} */ did) => token("wire-did", { did });
  const { client } = made(t, { server, token: source, device });
  await client.open();
  assert.equal((await client.info()).did, device.did);
});

test("a client learns who it is to the server, and can give it another token", async (t) => {
  const { token: first, space, mailbox } = await account("wire-m", { exp_in: 100 });
  const later = await token("wire-m", { exp_in: 1000 });
  const tokens = [first, later, await token("another")];
  const { client } = made(t, { server, token: () => tokens.shift() ?? "" });
  await client.open();
  const info = await client.info();
  assert.deepEqual([info.space, info.mailbox, info.did], [space, mailbox, ""]);
  assert.deepEqual(info.scopes, ["sync", "files"]);
  assert.deepEqual(await client.refresh(), { ok: true });
  assert.ok((await client.info()).expires_at > info.expires_at);
  assert.deepEqual(await client.refresh(), { ok: false, error: "token identity mismatch" });
});

test("a token source that fails is asked again", async (t) => {
  const { token } = await account("wire-f");
  let asked = 0;
  const source = () => {
    asked += 1;
    if (asked === 1) throw new Error("secret");
    return asked === 2 ? "no token\n" : token;
  };
  const { client } = made(t, { server, token: source, limits: SOON });
  /** @type {unknown[]} */
  const troubles = [];
  client.on("state", () => void troubles.push(client.trouble));
  await client.open();
  assert.equal(asked, 3);
  const trouble = client.trouble;
  assert.ok(trouble instanceof TokenUnavailable);
  assert.ok(!`${trouble.message}`.includes("secret"));
});

test("a paused client is away: calls fail at once, and it comes back", async (t) => {
  const { token, space } = await account("wire-g");
  const { client, notices, states } = made(t, { server, token });
  await assert.rejects(client.push(space, []), ConnectFailed);
  await client.open();
  await client.subscribe([{ id: space }]);
  const under = client.push(space, records(1, 100));
  client.pause();
  await assert.rejects(under, ConnectionLost);
  await assert.rejects(client.push(space, []), ConnectFailed);
  await assert.rejects(client.files.head(space, randomUuid()), ConnectFailed);
  await until(async () => (await connections()) === 0);
  client.resume();
  await until(() => notices.length === 1);
  assert.deepEqual(states, ["connecting", "online", "offline", "connecting", "online"]);
});

test("close ends calls and attempts, and nothing begins again", async (t) => {
  const { token, space } = await account("wire-h");
  const { client } = made(t, { server, token });
  const opening = client.open();
  await opening;
  const under = client.push(space, records(1, 100));
  await client.close();
  await assert.rejects(under, ClientClosed);
  await assert.rejects(client.push(space, []), ClientClosed);
  await assert.rejects(client.open(), ClientClosed);
  await assert.rejects(client.files.head(space, randomUuid()), ClientClosed);
  client.resume();
  client.pause();
  assert.equal(client.state, "closed");
});

test("refusals of the server are errors with its code", async (t) => {
  const { token, space } = await account("wire-i");
  const { client } = made(t, { server, token });
  await client.open();
  const stranger = randomUuid();
  assert.deepEqual(await client.subscribe([{ id: stranger }, { id: space }]), {
    spaces: [{ id: space, cursor: 0, key_generation: 1 }],
    errors: [{ space: stranger, error: "forbidden" }],
  });
  await assert.rejects(client.membershipList(stranger), RequestFailed);
  await assert.rejects(pulled(client, stranger, 0), AccessLost);
  await assert.rejects(client.invitationGet("x"), (error) => {
    assert.ok(error instanceof RequestFailed && !(error instanceof AccessLost));
    assert.deepEqual([error.code, error.detail], ["bad_request", "invalid invitation id"]);
    return true;
  });
  const large = [{ id: randomUuid(), blob: new Uint8Array(4 << 20), expected_cursor: 0 }];
  await assert.rejects(client.push(space, large), FrameTooLarge);
  assert.equal(client.state, "online");
});

test("a shared space: members, epochs, keys and invitations", async (t) => {
  const device = await DeviceKey.generate();
  const { token, mailbox } = await account("wire-j", { did: device.did });
  const { client } = made(t, { server, token });
  await client.open();
  const space = randomUuid();
  const root = await DeviceKey.generate();
  const point = decodeDid(root.did).compressed;
  assert.deepEqual(await client.spaceCreate(space, point), { id: space, key_generation: 1 });
  const expiresAt = Math.floor(Date.now() / 1000) + 3600;
  const ucan = await issueRoot(root, { to: device.did, permission: "admin", space, expiresAt });
  const payload = utf8("an entry");
  const entry = { expected_version: 0, entry_hash: await sha256(payload), payload };
  const appended = await client.membershipAppend(space, entry, { ucan });
  assert.deepEqual(appended, { chain_seq: 1, metadata_version: 1 });
  const listed = await client.membershipList(space, { ucan });
  assert.deepEqual(listed.entries, [{ chain_seq: 1, entry_hash: entry.entry_hash, payload }]);
  const id = randomUuid();
  await client.push(space, [{ id, blob: randomBytes(9), dek: dek(1), expected_cursor: 0 }], { ucan });
  assert.deepEqual(await client.epochBegin(space, 2, { ucan }), { epoch: 2 });
  const conflict = await client.epochBegin(space, 2, { ucan });
  assert.deepEqual(conflict, { error: "epoch_conflict", current_epoch: 2, rewrap_epoch: 2 });
  const keys = [];
  for await (const one of client.deksGet(space, { ucan })) keys.push(one.id);
  assert.deepEqual(keys, [id]);
  assert.equal(await client.deksRewrap(space, [{ id, dek: dek(2) }], { ucan }), 1);
  await client.epochComplete(space, 2, { ucan });
  const left = await client.invitationCreate(mailbox, "a message");
  assert.deepEqual((await client.invitationList()).map((one) => one.payload), ["a message"]);
  assert.equal((await client.invitationGet(left.id)).payload, "a message");
  await client.invitationDelete(left.id);
  assert.deepEqual(await client.invitationList(), []);
});

test("keys that were listed over a lost connection are not written back over another", async (t) => {
  const { token, space } = await account("wire-k");
  const { client, states } = made(t, { server, token, limits: SOON });
  await client.open();
  const id = randomUuid();
  await client.push(space, [{ id, blob: randomBytes(9), dek: dek(1), expected_cursor: 0 }]);
  for await (const one of client.deksGet(space)) assert.equal(one.id, id);
  await cut();
  await until(() => states.length === 4);
  await assert.rejects(client.deksRewrap(space, [{ id, dek: dek(1) }]), ConnectionLost);
  for await (const one of client.deksGet(space)) assert.equal(one.id, id);
  assert.equal(await client.deksRewrap(space, [{ id, dek: dek(1) }]), 1);
});

test("presence and events reach whoever is subscribed", async (t) => {
  const { token, space } = await account("wire-l");
  const [one, two] = [made(t, { server, token }), made(t, { server, token })];
  await Promise.all([one.client.open(), two.client.open()]);
  await one.client.subscribe([{ id: space, presence: true }]);
  await two.client.subscribe([{ id: space, presence: true }]);
  await one.client.presenceSet(space, utf8("here"));
  await one.client.eventSend(space, utf8("hello"));
  await one.client.presenceClear(space);
  await until(() => two.notices.length === 3);
  const [shown] = two.notices;
  const peer = shown?.method === "presence" ? shown.peer : "";
  assert.match(peer, /^[0-9a-f]{32}$/);
  assert.deepEqual(two.notices, [
    { method: "presence", space, peer, data: utf8("here") },
    { method: "event", space, peer, data: utf8("hello") },
    { method: "presence.leave", space, peer },
  ]);
});
