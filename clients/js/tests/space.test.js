import assert from "node:assert/strict";
import test, { afterEach } from "node:test";
import { LessSync } from "../src/app.js";
import { DeviceKey } from "../src/keys.js";
import { MemoryStore } from "../src/store.js";
import { account, server } from "./server.js";

let users = 0;
/** @type {LessSync[]} */
const open = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((app) => app.close()));
});

/** A user of their own, and devices of theirs. */
async function user(name = `user${(users += 1)}`) {
  const device = await DeviceKey.generate();
  const { token } = await account(name, { did: device.did });
  /** @type {string | undefined} */
  let key;
  return async (/** @type {Partial<import("../src/app.js").OpenOptions>} */ options = {}) => {
    const own = { store: new MemoryStore(), device, ...(key ? { key } : {}) };
    const app = await LessSync.open({ server, token, ...own, ...options });
    open.push(app);
    key ??= await app.exportKey();
    return app;
  };
}

/** @param {import("../src/space.js").Space} space */
async function contents(space) {
  return Object.fromEntries((await space.list()).map((entry) => [entry.path, entry.text()]));
}

test("what one device puts is on the other once both are settled", async () => {
  const device = await user();
  const laptop = await device();
  const phone = await device();
  await laptop.personal.put("list/milk", { done: false });
  await laptop.personal.put("notes.txt", "hello");
  await laptop.personal.settled();
  await phone.personal.settled();
  assert.deepEqual(await contents(phone.personal), { "list/milk": '{"done":false}', "notes.txt": "hello" });
  assert.deepEqual((await phone.personal.get("list/milk"))?.json(), { done: false });
  assert.equal(await phone.personal.get("absent"), undefined);
  assert.equal(await phone.personal.delete("notes.txt"), true);
  assert.equal(await phone.personal.delete("notes.txt"), false);
  await phone.personal.settled();
  await laptop.personal.settled();
  assert.deepEqual(await contents(laptop.personal), { "list/milk": '{"done":false}' });
  assert.deepEqual(laptop.personal.status, { online: true, pending: 0, lost: false });
});

test("an edit of another device is announced without being asked for", async () => {
  const device = await user();
  const laptop = await device();
  const phone = await device();
  await phone.personal.settled();
  const heard = new Promise((resolve) => phone.personal.on("change", resolve));
  await laptop.personal.put("a", "1");
  assert.deepEqual(await heard, { path: "a", deleted: false, origin: "remote" });
});

test("of two edits made apart the first keeps the name and the other becomes a conflict copy", async () => {
  const device = await user();
  const now = () => new Date(2026, 10, 26, 7, 30, 0);
  const laptop = await device({ now });
  const phone = await device({ now });
  await laptop.personal.put("a.txt", "base");
  await laptop.personal.settled();
  await phone.personal.settled();
  phone.pause();
  await phone.personal.put("a.txt", "phone");
  assert.equal(phone.personal.status.pending, 1);
  await laptop.personal.put("a.txt", "laptop");
  await laptop.personal.settled();
  const conflict = new Promise((resolve) => phone.personal.on("conflict", resolve));
  phone.resume();
  await phone.personal.settled();
  const copy = "a (conflict 2026-11-26 073000).txt";
  assert.deepEqual(await conflict, { path: "a.txt", copy });
  await laptop.personal.settled();
  for (const app of [laptop, phone]) {
    assert.deepEqual(await contents(app.personal), { "a.txt": "laptop", [copy]: "phone" });
  }
});

test("an app's merge decides about two edits, with what both sides had", async () => {
  const device = await user();
  const laptop = await device();
  /** @type {string[]} */
  const asked = [];
  const merge = (/** @type {string} */ path, /** @type {import("../src/space.js").Versions} */ versions) => {
    const [base, mine, theirs] = [versions.base, versions.mine, versions.theirs].map((one) => Buffer.from(one ?? []));
    asked.push(`${path}: ${base} ${mine} ${theirs}`);
    return `${mine}+${theirs}`;
  };
  const phone = await device({ merge });
  await laptop.personal.put("a", "base");
  await laptop.personal.settled();
  await phone.personal.settled();
  phone.pause();
  await phone.personal.put("a", "phone");
  await laptop.personal.put("a", "laptop");
  await laptop.personal.settled();
  phone.resume();
  await phone.personal.settled();
  await laptop.personal.settled();
  assert.deepEqual(asked, ["a: base phone laptop"]);
  for (const app of [laptop, phone]) {
    assert.deepEqual(await contents(app.personal), { a: "phone+laptop" });
  }
});

test("a large content goes to file storage and is fetched when it is asked for", async () => {
  const device = await user();
  const laptop = await device();
  const phone = await device();
  const bytes = new Uint8Array(3_000_001).map((_, index) => index % 251);
  await laptop.personal.put("film", new Blob([bytes]));
  await laptop.personal.put("small", "s");
  await laptop.personal.settled();
  await phone.personal.settled();
  const listed = await phone.personal.list();
  assert.deepEqual(listed.map((one) => [one.path, one.size, one.large, one.bytes.length]), [
    ["film", bytes.length, true, 0],
    ["small", 1, false, 1],
  ]);
  assert.deepEqual((await phone.personal.get("film"))?.bytes, bytes);
  phone.pause();
  assert.deepEqual((await phone.personal.get("film"))?.bytes, bytes);
});

test("another key is told before anything is sent or changed", async () => {
  const device = await user();
  const laptop = await device();
  await laptop.personal.put("a", "1");
  await laptop.personal.settled();
  const other = await (await user(`user${users}`))();
  await other.personal.put("b", "2");
  await assert.rejects(other.personal.settled(), { code: "key_mismatch" });
  assert.deepEqual(await contents(other.personal), { b: "2" });
  await laptop.personal.settled();
  assert.deepEqual(await contents(laptop.personal), { a: "1" });
});

test("a device that has begun without the user's key takes it over later", async () => {
  const device = await user();
  const laptop = await device();
  await laptop.personal.put("a", "1");
  await laptop.personal.settled();
  const store = new MemoryStore();
  const begun = await (await user(`user${users}`))({ store });
  await begun.personal.put("b", "2");
  await begun.personal.put("film", new Uint8Array(300_000));
  await assert.rejects(begun.personal.settled(), { code: "key_mismatch" });
  await begun.close();
  const phone = await device({ store });
  await phone.personal.settled();
  assert.deepEqual((await phone.personal.list()).map((entry) => entry.path), ["a", "b", "film"]);
  await assert.rejects(device({ store, key: await begun.exportKey() }), { code: "another_key" });
  await laptop.personal.settled();
  assert.equal((await laptop.personal.get("film"))?.bytes.length, 300_000);
});

test("a store of another user is not sent in this one's name", async () => {
  const store = new MemoryStore();
  const mine = await (await user())({ store });
  await mine.personal.put("a", "mine");
  await mine.close();
  const theirs = await (await user())({ store });
  const told = await new Promise((resolve) => theirs.on("error", resolve));
  assert.equal(/** @type {any} */ (told).code, "another_user");
  assert.equal(theirs.state, "offline");
});

test("people share a space until one is taken out", async () => {
  const [alice, bob] = await Promise.all([user(), user()].map(async (made) => (await made)()));
  assert.ok(alice && bob);
  const space = await alice.createSpace();
  await space.put("a", "1");
  await space.invite({ did: bob.did, mailbox: bob.mailbox });
  const [invitation] = await bob.invitations();
  assert.ok(invitation);
  const joined = await bob.accept(invitation);
  await space.settled();
  await joined.settled();
  assert.deepEqual(await contents(joined), { a: "1" });
  await joined.put("b", "2");
  await joined.settled();
  await space.settled();
  assert.deepEqual(await contents(space), { a: "1", b: "2" });
  const here = new Promise((resolve) => space.presence.on((people) => people.length > 0 && resolve(people)));
  joined.presence.set({ at: "a" });
  const [person] = await /** @type {Promise<any>} */ (here);
  assert.deepEqual([person.did, person.json()], [bob.did, { at: "a" }]);
  const said = new Promise((resolve) => joined.on("event", resolve));
  await space.send("hello");
  const event = await /** @type {Promise<any>} */ (said);
  assert.deepEqual([event.did, event.text], [alice.did, "hello"]);
  const lost = new Promise((resolve) => joined.on("error", resolve));
  await space.revoke(bob.did);
  assert.equal((await /** @type {Promise<any>} */ (lost)).code, "access_lost");
  assert.equal(joined.status.lost, true);
  assert.deepEqual(await contents(joined), { a: "1", b: "2" });
});

test("a space that is forgotten leaves nothing but its root key on the device", async () => {
  const store = new MemoryStore();
  const app = await (await user())({ store });
  const space = await app.createSpace();
  await space.put("a", "1");
  await space.settled();
  await app.join(await space.inviteToken({ did: app.did, permission: "admin" }), { force: true });
  const left = () => [...store.values.keys()].filter((key) => key.includes(space.id)).map((key) => key.slice(0, 8));
  assert.ok(left().includes("a/former"));
  await app.forget(space.id);
  assert.deepEqual([left(), app.spaces()], [["a/made/" + space.id[0]], []]);
});
