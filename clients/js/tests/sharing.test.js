import assert from "node:assert/strict";
import test from "node:test";

import { randomUuid } from "../src/bytes.js";
import { RequestFailed } from "../src/errors.js";
import { DeviceKey } from "../src/keys.js";
import { HEARTBEAT_MS, Presence } from "../src/presence.js";
import { bundledUcan } from "../src/sharing/bundle.js";
import {
  accept, createSpace, enter, fetchKey, grantOf, invite, inviteToken, join, mailbox, makeBundle, members, openBundle,
  recover, revoke, rotate, standing,
} from "../src/sharing/index.js";
import { person } from "./people.js";
import { epochsOfRecords, write } from "./records.js";
import { cut } from "./server.js";

/** @typedef {import("../src/sharing/state.js").SharedState} SharedState */

/** @param {import("../src/sharing/state.js").Ctx} ctx */
const stateOf = async (ctx) => /** @type {SharedState} */ (await ctx.load());

/** @param {string} code */
const refusing = (code) => (/** @type {{code: string}} */ error) => error.code === code;

/** @param {() => boolean | Promise<boolean>} holds */
async function until(holds) {
  for (let waited = 0; !(await holds()); waited++) {
    assert.ok(waited < 1000, "it did not come to that");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/**
 * Alice with a space, and Bob with an invitation that he has accepted.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} name
 * @param {"read" | "write" | "admin"} [permission]
 */
async function two(t, name, permission) {
  const [alice, bob] = await Promise.all([person(t, `${name}-alice`), person(t, `${name}-bob`)]);
  const hers = alice.ctx();
  await createSpace(hers);
  await invite(hers, { did: bob.did, mailbox: bob.mailbox, ...(permission && { permission }) });
  const his = bob.ctx();
  const [waiting] = (await mailbox(his)).waiting;
  assert.ok(waiting);
  await accept(his, waiting);
  return { alice, bob, hers, his };
}

test("a person is invited, accepts, reads what is there, and both know who is in", async (t) => {
  const { alice, bob, hers, his } = await two(t, "life");
  const one = await stateOf(hers);
  const other = await stateOf(his);
  assert.deepEqual([other.space, other.keys, other.log?.entries], [one.space, one.keys, 1]);
  assert.deepEqual((await mailbox(his)).waiting, []);
  await write(hers, "a.txt");
  assert.deepEqual(await epochsOfRecords(his), [1]);
  for (const [ctx, me] of /** @type {const} */ ([[hers, alice], [his, bob]])) {
    const found = await members(ctx);
    const told = found.members.map(({ did, permission, you }) => [did, permission, you]);
    assert.deepEqual(told, [[alice.did, "admin", me === alice], [bob.did, "write", me === bob]]);
    assert.equal(found.passedOver, 0);
  }
});

test("a bundle lets in whom it was made for, and nobody else", async (t) => {
  const [alice, bob, eve] = await Promise.all(["b-alice", "b-bob", "b-eve"].map((name) => person(t, name)));
  assert.ok(alice && bob && eve);
  const hers = alice.ctx();
  await createSpace(hers);
  const text = await inviteToken(hers, { did: bob.did, permission: "admin" });
  assert.deepEqual((await members(hers)).members.map((one) => [one.did, one.invited]), [
    [alice.did, false], [bob.did, true],
  ]);
  await assert.rejects(join(eve.ctx(), text), refusing("not_for_us"));
  for (const damaged of [`${text.slice(0, -2)}AA`, text.slice(0, 500), "less-sync-invite-1:", "x"]) {
    await assert.rejects(join(bob.ctx(), damaged), refusing("bundle_damaged"));
  }
  const state = await stateOf(hers);
  const home = "[2001:db8::1]:5379";
  const elsewhere = await makeBundle(await bundledUcan(text), { ...state, home }, alice.device);
  assert.equal((await openBundle(elsewhere, bob.device, Date.now() / 1000)).home, home);
  const odd = { ...state, keys: { ...state.keys, [2 ** 31]: String(state.keys[1]) } };
  const noEpoch = await makeBundle(await bundledUcan(text), odd, alice.device);
  await assert.rejects(join(bob.ctx(), noEpoch), refusing("bundle_damaged"));
  const late = openBundle(text, bob.device, Date.now() / 1000 + 91 * 86_400);
  await assert.rejects(late, refusing("bundle_unusable"));
  const his = bob.ctx();
  const { told } = await join(his, text);
  assert.ok(told);
  assert.deepEqual((await members(hers)).members.map((one) => one.invited), [false, false]);
});

test("access is not replaced by less, and the root key brings back who lost it", async (t) => {
  const [alice, bob] = await Promise.all(["r-alice", "r-bob"].map((name) => person(t, name)));
  assert.ok(alice && bob);
  const root = await DeviceKey.generate();
  const hers = alice.ctx();
  const space = crypto.randomUUID();
  await createSpace(hers, { space, root });
  await assert.rejects(createSpace(hers), refusing("shared_already"));
  const his = bob.ctx();
  const [admin, read] = await Promise.all([
    inviteToken(hers, { did: bob.did, permission: "admin" }),
    inviteToken(hers, { did: bob.did, permission: "read" }),
  ]);
  await join(his, admin);
  await assert.rejects(join(his, read), refusing("access_is_better"));
  await enter(his, await openBundle(read, bob.device, bob.ctx().now()), { force: true });
  assert.equal((await grantOf((await stateOf(his)).ucan)).permission, "read");
  await assert.rejects(inviteToken(his, { did: alice.did }), refusing("not_allowed"));
  await assert.rejects(rotate(his), refusing("not_allowed"));
  await assert.rejects(recover(his, await DeviceKey.generate()), refusing("another_root"));
  assert.equal((await recover(his, root)).told, true);
  assert.equal((await rotate(his)).epoch, 2);
  await assert.rejects(recover(bob.ctx(), root), refusing("no_keys"));
});

test("a rotation gives all a new key, and takes the space from who is removed", async (t) => {
  const { alice, bob, hers, his } = await two(t, "rot", "admin");
  const carol = await person(t, "rot-carol");
  const theirs = carol.ctx();
  await join(theirs, await inviteToken(his, { did: carol.did }));
  for (const path of ["a.txt", "b.txt"]) assert.equal((await write(hers, path)).error, undefined);
  // Who may write may push anything for a key, and holds up nobody by it.
  const { space, ucan } = await stateOf(theirs);
  const junk = { id: randomUuid(), blob: new Uint8Array(40), dek: new Uint8Array(3), expected_cursor: 0 };
  const { cursor = 0 } = await carol.client.push(space, [junk], { ucan });
  /** @type {string[]} */
  const steps = [];
  const rotated = await rotate(hers, { onStep: (name) => void steps.push(name) });
  assert.deepEqual(rotated, { epoch: 2, undecryptable: [junk.id] });
  await carol.client.push(space, [{ id: junk.id, expected_cursor: cursor }], { ucan });
  assert.deepEqual(steps, ["epoch entry", "begin", "rewrap", "complete", "done"]);
  assert.equal((await stateOf(hers)).rotation, undefined);
  await fetchKey(theirs, 2);
  assert.deepEqual(await epochsOfRecords(theirs), [2]);
  assert.equal((await write(his, "c.txt", 1)).error, "key_generation_stale");
  // Who lets somebody in is removed with them.
  await rotate(hers, { remove: [bob.did] });
  assert.deepEqual((await members(hers)).members.map((one) => one.did), [alice.did]);
  for (const ctx of [his, theirs]) {
    await assert.rejects(standing(ctx, (await stateOf(ctx)).ucan), refusing("forbidden"));
  }
  await assert.rejects(rotate(hers, { remove: [alice.did] }), refusing("remove_oneself"));
});

test("a token is taken back by who gave it, and the log says so", async (t) => {
  const { bob, hers, his } = await two(t, "rev");
  assert.equal((await revoke(hers, bob.did)).length, 1);
  await assert.rejects(revoke(hers, bob.did), refusing("nothing_to_revoke"));
  await assert.rejects(members(his), refusing("forbidden"));
  assert.equal((await members(hers)).members.length, 1);
  assert.ok((await stateOf(hers)).delegated?.every((note) => note.revoked));
});

test("a rotation that breaks off at any step goes on when it is called again", async (t) => {
  const { alice, bob, hers, his } = await two(t, "brk", "write");
  await write(hers, "a.txt");
  let kills = 0;
  for (let done = false; !done; kills++) {
    let left = kills;
    const onStep = () => {
      if (left-- === 0) throw new Error("killed");
    };
    done = await rotate(hers, { remove: kills ? [] : [bob.did], onStep }).then(() => true, (error) => {
      assert.equal(error.message, "killed");
      return false;
    });
    assert.equal((await stateOf(hers)).rotation === undefined, done);
  }
  assert.ok(kills > 4);
  assert.deepEqual((await members(hers)).members.map((one) => one.did), [alice.did]);
  const { epoch, pending } = await standing(hers, (await stateOf(hers)).ucan);
  assert.deepEqual([pending, await epochsOfRecords(hers)], [null, [epoch]]);
  assert.deepEqual(Object.keys((await stateOf(his)).keys), ["1"]);
});

test("where only another server lets people in, nobody is noted, and no rotation is left open", async (t) => {
  const { bob, hers } = await two(t, "els");
  const carol = await person(t, "els-carol");
  const before = await stateOf(hers);
  const elsewhere = new RequestFailed("bad_request", "space is hosted on another server");
  const refuse = () => Promise.reject(elsewhere);
  const { client } = hers;
  /** @type {any} */
  const foreign = {
    subscribe: client.subscribe.bind(client), membershipList: client.membershipList.bind(client),
    membershipAppend: refuse, membershipRevoke: refuse,
  };
  const away = { ...hers, client: foreign };
  await assert.rejects(invite(away, { did: carol.did, mailbox: carol.mailbox }), elsewhere);
  await assert.rejects(rotate(away, { remove: [bob.did] }), elsewhere);
  assert.deepEqual(await stateOf(hers), before);
});

test("what another server or a newer app has written is refused", async (t) => {
  const { hers } = await two(t, "lie");
  await hers.change((now) => ({ .../** @type {SharedState} */ (now), log: { entries: 9, digest: "" } }));
  await assert.rejects(members(hers), refusing("log_not_continued"));
  await hers.change((now) => ({ .../** @type {any} */ (now), v: 2 }));
  await assert.rejects(members(hers), refusing("newer_version"));
});

test("members see who is there and what they say, until they leave, also after a cut", async (t) => {
  const { bob, hers, his } = await two(t, "pre");
  const [one, other] = [new Presence(hers), new Presence(his)];
  /** @type {[string, string, string][]} */
  const heard = [];
  for (const name of /** @type {const} */ (["here", "left", "event"])) {
    one.on(name, ({ did, text }) => void heard.push([name, did, text]));
  }
  assert.throws(() => one.set("x".repeat(500)), refusing("too_long"));
  other.set("not open yet");
  await Promise.all([one.open(), other.open()]);
  t.after(() => [one, other].forEach((presence) => presence.close()));
  await until(() => one.here().some(({ text }) => text === "not open yet"));
  other.set("at the");
  other.set("at the desk");
  await until(() => one.here().some(({ text }) => text === "at the desk"));
  await other.send("lunch?");
  await until(() => heard.some(([name]) => name === "event"));
  assert.deepEqual(heard.slice(-2), [["here", bob.did, "at the desk"], ["event", bob.did, "lunch?"]]);
  await cut();
  await until(() => one.here().length === 0);
  await until(() => one.here().length === 1);
  other.clear();
  await until(() => one.here().length === 0);
  assert.deepEqual(heard.at(-1), ["left", bob.did, "at the desk"]);
  assert.ok(HEARTBEAT_MS < 30_000);
});
