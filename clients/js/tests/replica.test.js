import assert from "node:assert/strict";
import test, { afterEach } from "node:test";
import { encode } from "../src/cbor.js";
import { encodeFile } from "../src/plaintext.js";
import { rekey } from "../src/rekeying.js";
import { SpaceKeys } from "../src/space_keys.js";
import { MemoryStore } from "../src/store.js";
import { FullStore, KEYS, Killed, MortalStore, SPACE, World, replica, texts } from "./worlds.js";

/** @type {import("../src/space.js").Space[]} */
const open = [];

afterEach(async () => {
  await Promise.all(open.splice(0).map((space) => space.close()));
});

/** @param {Parameters<typeof replica>} given */
async function opened(...given) {
  const made = await replica(...given);
  open.push(made.space);
  return made;
}

const LARGE = "x".repeat(300_000);
const COPY = "both (conflict 2026-11-26 073000)";

/** A world in which one device has written, and another one has other plans. */
async function scene() {
  const world = new World();
  const store = new MemoryStore();
  const first = await opened(world, store);
  for (const path of ["both", "gone", "edited there", "edited here", "deleted here"]) {
    await first.space.put(path, `${path} base`);
  }
  await first.space.put("film", `${LARGE}1`);
  await first.space.settled();
  const other = await opened(world, new MemoryStore());
  await other.space.settled();
  await first.space.close();
  await other.space.put("both", "there");
  await other.space.put("edited there", "there");
  await other.space.delete("gone");
  await other.space.put("film there", `${LARGE}2`);
  await other.space.settled();
  return { world, other: other.space, values: store.values };
}

/** @param {import("../src/space.js").Space} space */
async function edit(space) {
  await space.put("both", "here");
  await space.put("edited here", "here");
  await space.delete("deleted here");
  await space.put("film", `${LARGE}3`);
  await space.putAll([["new/a", "1"], ["new/b", "2"]]);
}

const WANTED = {
  both: "there",
  [COPY]: "here",
  "edited there": "there",
  "edited here": "here",
  film: `${LARGE}3`,
  "film there": `${LARGE}2`,
  "new/a": "1",
  "new/b": "2",
};

test("what a process killed at any step leaves is made good by the next one", { timeout: 60_000 }, async () => {
  const { world, values } = await scene();
  let kills = 0;
  for (let steps = 0; ; steps++) {
    const then = structuredClone(world);
    const own = Object.assign(new World(), then);
    const map = structuredClone(values);
    const store = new MortalStore(map, steps);
    let alive = true;
    try {
      const { space } = await Promise.race([opened(own, store), store.death]);
      await Promise.race([edit(space), store.death]);
      await Promise.race([space.settled(), store.death]);
    } catch (error) {
      assert.ok(error instanceof Killed, String(error));
      [alive, kills] = [false, kills + 1];
    }
    await Promise.all(open.splice(0).map((space) => space.close()));
    const again = await opened(own, new MemoryStore({ values: map }));
    if (!alive) await edit(again.space);
    await again.space.settled();
    const found = await texts(again.space);
    const copies = Object.keys(found).filter((path) => path.startsWith("both (conflict"));
    // Who is killed after its edit was set aside, and edits again, has two edits. An edit of what had come from
    // there by then is set aside by nobody.
    if (copies.length > 0 || found.both !== "here") {
      assert.deepEqual(new Set(copies.map((path) => found[path])), new Set(["here"]), `after ${steps} steps`);
    }
    const rest = Object.fromEntries(Object.entries(found).filter(([path]) => !path.startsWith("both")));
    const { both, [COPY]: _, ...wanted } = WANTED;
    assert.deepEqual(rest, wanted, `after ${steps} steps`);
    const fresh = await opened(own, new MemoryStore());
    await fresh.space.settled();
    assert.deepEqual(await texts(fresh.space), found, `after ${steps} steps`);
    // Nothing is left on the server that nothing points to: there is one part for each film.
    assert.equal(own.files.size, 2, `after ${steps} steps`);
    await Promise.all(open.splice(0).map((space) => space.close()));
    if (alive) break;
  }
  assert.ok(kills > 40, `${kills}`);
});

test("a push whose answer is lost is no conflict with what was edited after it", async () => {
  const world = new World();
  const { space, events } = await opened(world, new MemoryStore());
  await space.settled();
  world.losesAnswer = true;
  await space.put("a", "1");
  await space.put("a", "2");
  await space.settled();
  await space.put("a", "3");
  await space.settled();
  assert.deepEqual(await texts(space), { a: "3" });
  assert.deepEqual(events.filter((one) => one.startsWith("conflict")), []);
});

test("of two tabs that both sync, one edits over what the other is just sending", async () => {
  const [world, values] = [new World(), new MemoryStore().values];
  const first = await opened(world, new MemoryStore({ values }));
  const second = await opened(world, new MemoryStore({ values }));
  await Promise.all([first.space.settled(), second.space.settled()]);
  const push = first.client.push.bind(first.client);
  /** @type {() => void} */
  let answer = () => {};
  const sent = new Promise((stored) => {
    first.client.push = async (space, changes) => {
      const answered = await push(space, changes);
      stored(undefined);
      await new Promise((resolve) => (answer = () => resolve(undefined)));
      return answered;
    };
  });
  await first.space.put("a", "1");
  await sent;
  await second.space.put("a", "2");
  await second.space.settled();
  first.client.push = push;
  answer();
  await first.space.settled();
  assert.deepEqual([await texts(first.space), await texts(second.space)], [{ a: "2" }, { a: "2" }]);
  assert.deepEqual([...first.events, ...second.events].filter((one) => one.startsWith("conflict")), []);
});

test("who writes all the time is sent all the time", async () => {
  const world = new World();
  const { space, client, events } = await opened(world, new MemoryStore());
  const push = client.push.bind(client);
  client.push = async (space_, changes) => {
    const count = world.asked.push ?? 0;
    if (count < 40) await space.put("a", `${count}`);
    return push(space_, changes);
  };
  await space.put("a", "first");
  await space.settled();
  assert.deepEqual(events.filter((event) => event.startsWith("error")), []);
  assert.deepEqual([await texts(space), world.asked.push], [{ a: "39" }, 41]);
});

test("a space may be closed by whoever is told of its trouble", async () => {
  const clock = { now: () => 0, setTimeout: () => undefined, clearTimeout: () => {} };
  const { space, client } = await opened(new World(), new MemoryStore(), { clock });
  client.push = async () => ({ ok: false, error: "internal" });
  const closed = new Promise((resolve) => space.on("error", () => resolve(space.close())));
  await space.put("a", "1");
  await closed;
});

test("what comes twice, late or while a pull runs changes nothing", async () => {
  const world = new World();
  const one = await opened(world, new MemoryStore());
  const two = await opened(world, new MemoryStore());
  await one.space.put("a", "1");
  await one.space.settled();
  await two.space.settled();
  const [first] = world.since(0);
  const old = { method: "sync", space: SPACE, prev: 0, cursor: 1, key_generation: 1, records: [first] };
  await one.space.put("a", "2");
  await one.space.settled();
  const [second] = world.since(1);
  const notice = { ...old, prev: 1, cursor: 2, records: [second] };
  const settled = two.space.settled();
  for (const announced of [notice, old, notice, old]) two.space.notice(announced);
  await settled;
  for (const announced of [old, notice]) two.space.notice(announced);
  await two.space.settled();
  assert.deepEqual(await texts(two.space), { a: "2" });
  assert.deepEqual(two.events.filter((event) => event !== "remote changed a"), []);
});

test("a server that goes back is refused, and gets the newer version again", async () => {
  const world = new World();
  const { space, events } = await opened(world, new MemoryStore());
  await space.put("a", "old");
  await space.settled();
  const [old] = world.since(0);
  await space.put("a", "new");
  await space.settled();
  world.cursor += 1;
  world.records.set(old?.id ?? "", { .../** @type {any} */ (old), cursor: world.cursor });
  await space.settled();
  assert.deepEqual(await texts(space), { a: "new" });
  assert.ok(events.includes("error rolled_back"));
  const fresh = await opened(world, new MemoryStore());
  await fresh.space.settled();
  assert.deepEqual(await texts(fresh.space), { a: "new" });
});

test("a tombstone without proof is not believed, and a deletion made here proves it", async () => {
  const world = new World();
  const { space, events } = await opened(world, new MemoryStore());
  await space.put("a", "1");
  await space.settled();
  const [record] = world.since(0);
  const bare = () => [{ id: record?.id, expected_cursor: record?.cursor }];
  assert.ok(world.push(bare()).ok);
  await space.settled();
  assert.deepEqual(await texts(space), { a: "1" });
  assert.deepEqual(events.filter((event) => event.startsWith("error")), ["error unproven_deletion"]);
  await space.delete("a");
  await space.settled();
  assert.equal(world.records.get(record?.id ?? "")?.deleted, undefined);
  const fresh = await opened(world, new MemoryStore());
  await fresh.space.settled();
  assert.deepEqual(await texts(fresh.space), {});
});

test("a restored server gets back what it has lost, and takes nothing away", async () => {
  const world = new World();
  const { space } = await opened(world, new MemoryStore());
  await space.put("a", "1");
  await space.settled();
  const backup = structuredClone([...world.records]);
  await space.put("b", "2");
  await space.put("film", LARGE);
  await space.delete("a");
  await space.settled();
  world.records = new Map(backup);
  world.files.clear();
  world.cursor = 1;
  await space.settled();
  const fresh = await opened(world, new MemoryStore());
  await fresh.space.settled();
  assert.deepEqual(await texts(fresh.space), { b: "2", film: LARGE });
  assert.deepEqual(await texts(space), { b: "2", film: LARGE });
});

test("a content that the server has lost is sent again by who has it", async () => {
  const world = new World();
  const { space } = await opened(world, new MemoryStore());
  await space.put("film", LARGE);
  await space.settled();
  const [file] = world.files.values();
  const content = world.records.get(file?.record ?? "");
  assert.ok(world.push([{ id: content?.id, expected_cursor: content?.cursor }]).ok);
  assert.equal(world.files.size, 0);
  await space.settled();
  const fresh = await opened(world, new MemoryStore());
  await fresh.space.settled();
  assert.deepEqual(await texts(fresh.space), { film: LARGE });
});

test("an altered part is named and never shown, and an upload goes on where it broke", async () => {
  const world = new World();
  const one = await opened(world, new MemoryStore());
  await one.space.put("film", LARGE.repeat(30));
  await one.space.settled();
  assert.equal(world.asked.put, 2);
  const two = await opened(world, new MemoryStore());
  await two.space.settled();
  const [file] = world.files.values();
  const flipped = /** @type {Uint8Array} */ (file?.body);
  flipped[1000] = Number(flipped[1000]) ^ 1;
  await assert.rejects(two.space.get("film"), { code: "not_fetched" });
  flipped[1000] = Number(flipped[1000]) ^ 1;
  assert.equal((await two.space.get("film"))?.text(), LARGE.repeat(30));
  const asked = world.asked.get;
  assert.equal((await two.space.get("film"))?.text(), LARGE.repeat(30));
  assert.equal(world.asked.get, asked);
  await one.space.put("film", `${LARGE}1`);
  await one.space.settled();
  await two.space.settled();
  const get = two.client.files.get;
  two.client.files.get = async (space, file) => {
    two.client.files.get = get;
    const found = await get(space, file);
    await one.space.put("film", `${LARGE}2`);
    await one.space.settled();
    await two.space.settled();
    return found;
  };
  assert.equal((await two.space.get("film"))?.text(), `${LARGE}2`);
});

test("without file storage records hold what fits into them, and what does not is told once", async () => {
  const world = new World();
  world.withoutFiles = true;
  const { space, events } = await opened(world, new MemoryStore());
  await space.put("film", LARGE);
  await space.put("series", LARGE.repeat(20));
  await space.settled();
  await space.settled();
  assert.deepEqual(events.filter((event) => event.startsWith("error")), ["error too_large"]);
  assert.equal(space.status.pending, 1);
  const fresh = await opened(world, new MemoryStore());
  await fresh.space.settled();
  assert.deepEqual(Object.keys(await texts(fresh.space)), ["film"]);
  assert.equal([...world.records.values()].filter((record) => !record.deleted).length, 1);
  world.withoutFiles = false;
  space.retry();
  await space.settled();
  assert.equal(space.status.pending, 0);
});

test("records of other kinds are left alone, and their paths are not written to", async () => {
  const world = new World();
  const keys = KEYS();
  const id = await keys.recordId("a");
  const newer = encode({ v: 2, kind: "drawing", version: 1, path: "a" });
  assert.ok(world.push([{ id, ...(await keys.seal(id, newer, 1)), expected_cursor: 0 }]).ok);
  const later = await keys.recordId("b");
  const other = encode({ v: 3 });
  assert.ok(world.push([{ id: later, ...(await keys.seal(later, other, 1)), expected_cursor: 0 }]).ok);
  const moved = await keys.recordId("c");
  const file = { kind: /** @type {const} */ ("file"), version: 1, path: "d", mtimeNs: 0n, content: new Uint8Array() };
  assert.ok(world.push([{ id: moved, ...(await keys.seal(moved, encodeFile(file), 1)), expected_cursor: 0 }]).ok);
  const { space, events } = await opened(world, new MemoryStore());
  await space.settled();
  await assert.rejects(space.put("a", "1"), { code: "other_kind" });
  for (const path of ["b", "c"]) await assert.rejects(space.put(path, "1"), { code: "unreadable" });
  assert.deepEqual(await texts(space), {});
  assert.deepEqual(events, ["error refused_record", "error refused_record"]);
  assert.equal(world.cursor, 3);
  const over = new World();
  const had = await opened(over, new MemoryStore());
  await had.space.put("a", "1");
  await had.space.settled();
  assert.ok(over.push([{ id, ...(await keys.seal(id, newer, 1)), expected_cursor: 1 }]).ok);
  await had.space.settled();
  assert.deepEqual(had.events, ["local changed a", "error other_kind"]);
});

test("a key of another epoch is learnt before its records are opened", async () => {
  const world = new World();
  const [first, second] = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
  const keys = () => SpaceKeys.shared({ 1: first }, SPACE);
  const one = await opened(world, new MemoryStore(), { keys: keys() });
  await one.space.put("a", "1");
  await one.space.settled();
  world.epoch = 2;
  const own = keys();
  const learn = async () => own.learn({ 2: second });
  const two = await opened(world, new MemoryStore(), { keys: own, learn });
  await two.space.put("b", "2");
  await two.space.settled();
  assert.deepEqual(await texts(two.space), { a: "1", b: "2" });
  const record = world.records.get(await own.recordId("b"));
  assert.deepEqual(record?.dek?.subarray(0, 4), Uint8Array.of(0, 0, 0, 2));
});

test("a store without room refuses what is put and loses nothing that was", async () => {
  const world = new World();
  const store = new FullStore();
  const { space, events } = await opened(world, store);
  await space.put("a", "1".repeat(500));
  await space.settled();
  store.bytesMax = 2500;
  await assert.rejects(space.put("b", "2".repeat(5000)), { code: "quota_exceeded" });
  const other = await opened(world, new MemoryStore());
  await other.space.put("c", "3".repeat(900) + "c");
  await other.space.put("d", "4".repeat(900) + "d");
  await other.space.settled();
  const settled = space.settled();
  while (!events.includes("error quota_exceeded")) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.equal((await space.get("a"))?.text(), "1".repeat(500));
  assert.equal(await space.get("d"), undefined);
  store.bytesMax = Infinity;
  await settled;
  assert.equal((await space.list()).length, 3);
});

test("a step that was done is done, even if what it replaced cannot be removed", async () => {
  for (let full = 0, done = false; !done; full++) {
    const store = new FullStore();
    const { space } = await opened(new World(), store);
    await space.put("film", `${LARGE}1`);
    store.fullAfter = full;
    const error = await space.put("film", `${LARGE}2`).then(() => undefined, (thrown) => thrown);
    done = error === undefined;
    assert.ok(done || error.code === "quota_exceeded", error);
    store.fullAfter = Infinity;
    assert.equal((await space.get("film"))?.text().at(-1), done ? "2" : "1", `full after ${full} steps`);
    assert.ok(full < 10);
  }
});

test("one refusal to subscribe ends the access, and what is here stays", async () => {
  const world = new World();
  const { space } = await opened(world, new MemoryStore());
  await space.put("a", "1");
  await space.settled();
  world.refuses = true;
  space.notice({ method: "revoked", space: SPACE, reason: "token_revoked" });
  await assert.rejects(space.settled(), { code: "access_lost" });
  assert.deepEqual([space.status.lost, await texts(space)], [true, { a: "1" }]);
  world.refuses = false;
  space.retry();
  await space.settled();
  assert.equal(space.status.lost, false);
});

test("several entries are put in one step and one push, or none of them", async () => {
  const world = new World();
  const { space } = await opened(world, new MemoryStore());
  await space.put("a", "1");
  await space.put("z", "1");
  await space.settled();
  const was = (await space.get("a"))?.digest ?? "";
  const pushes = Number(world.asked.push);
  assert.equal(await space.putAll([["a", "2", was], ["b", "2", null], ["z", undefined]]), 3);
  await space.settled();
  assert.equal(world.asked.push, pushes + 1);
  await assert.rejects(space.putAll([["c", "3"], ["a", "3", was]]), { code: "changed" });
  assert.deepEqual(await texts(space), { a: "2", b: "2" });
});

test("every kind of array is taken as its bytes", async () => {
  const { space } = await opened(new World(), new MemoryStore());
  await space.put("numbers", Uint16Array.of(0x6161, 0x6262));
  assert.deepEqual(await texts(space), { numbers: "aabb" });
});

test("paths that a folder could not have are refused", async () => {
  const { space } = await opened(new World(), new MemoryStore());
  const bad = ["", "/a", "a/", "a//b", ".", "a/../b", "a\u0000", "\ud800", ".LESS-sync/x", "x".repeat(256)];
  for (const path of bad) await assert.rejects(space.put(path, "1"), { code: "bad_path" }, path);
  await space.put("u\u0308", "1");
  assert.deepEqual(await texts(space), { "\u00fc": "1" });
});

test("another key is taken over only before anything is sent, wherever that was interrupted", async () => {
  const former = () => SpaceKeys.personal(new Uint8Array(32), SPACE);
  const found = new Set();
  for (let steps = 0, alive = false; !alive; steps++) {
    const values = new Map();
    const world = new World();
    const store = new MortalStore(values, steps);
    const began = async () => {
      const { space } = await opened(world, store, { keys: former() });
      await space.put("film", LARGE);
      await space.settled();
    };
    alive = await Promise.race([began().then(() => true), store.death]).catch(() => false);
    await Promise.all(open.splice(0).map((space) => space.close()));
    const after = new MemoryStore({ values });
    const refused = await rekey(after, SPACE, KEYS(), () => {}).catch((error) => error.code);
    found.add(refused);
    if (refused === "another_key") continue;
    await (await opened(world, after)).space.settled();
  }
  assert.deepEqual(found, new Set([undefined, "another_key"]));
});
