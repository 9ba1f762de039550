import assert from "node:assert/strict";
import test from "node:test";
import { CHANGES_BYTES_MAX, DOCUMENT_BYTES_MAX, GONE_AFTER_MS } from "../src/yjs.js";
import { FOLDER, bound, devices, own, sizes, until } from "./yjs_devices.js";

test("what two write offline is in both documents afterwards", async (t) => {
  const open = devices(t);
  const [one, other] = [await open(), await open()];
  const [first, second] = [bound(t, one.personal), bound(t, other.personal)];
  await Promise.all([first.binding.synced, second.binding.synced]);
  one.pause();
  other.pause();
  first.text.insert(0, "milk");
  second.text.insert(0, "salt");
  await Promise.all([first.binding.flush(), second.binding.flush()]);
  one.resume();
  other.resume();
  await until(() => first.text.length === 8 && second.text.length === 8);
  assert.equal(first.text.toString(), second.text.toString());
});

test("two who write snapshots at once lose nothing, and the next snapshot replaces both", async (t) => {
  const open = devices(t);
  const [one, other] = [await open(), await open()];
  const [first, second] = [bound(t, one.personal), bound(t, other.personal)];
  await Promise.all([first.binding.synced, second.binding.synced]);
  one.pause();
  other.pause();
  first.text.insert(0, "a".repeat(CHANGES_BYTES_MAX));
  second.text.insert(0, "b".repeat(CHANGES_BYTES_MAX));
  await Promise.all([first.binding.flush(), second.binding.flush()]);
  one.resume();
  other.resume();
  const both = 2 * CHANGES_BYTES_MAX;
  await until(() => first.text.length === both && second.text.length === both);
  await Promise.all([one.personal.settled(), other.personal.settled()]);
  const snapshots = [own(one.personal, "snapshot"), own(other.personal, "snapshot")].sort();
  assert.deepEqual(Object.keys(await sizes(one.personal)).filter((name) => name.endsWith(".snapshot")), snapshots);

  first.text.insert(0, "c".repeat(CHANGES_BYTES_MAX));
  await first.binding.flush();
  await one.personal.settled();
  const third = await open();
  const late = bound(t, third.personal);
  await late.binding.synced;
  assert.equal(late.text.toString(), first.text.toString());
  const left = await sizes(third.personal);
  assert.deepEqual(Object.keys(left).filter((name) => name.endsWith(".snapshot")), [own(one.personal, "snapshot")]);
  assert.equal(left[own(one.personal, "changes")], 0);
});

test("a device that is gone leaves what it wrote, and its entries go a month later", async (t) => {
  const open = devices(t);
  const [gone, one] = [await open(), await open()];
  const leaving = bound(t, gone.personal);
  leaving.text.insert(0, "last words");
  await leaving.binding.destroy();
  await gone.personal.settled();
  await gone.close();
  let now = Date.now();
  const stays = bound(t, one.personal, { now: () => now });
  await stays.binding.synced;
  assert.equal(stays.text.toString(), "last words");

  for (const [later, left] of [[0, true], [GONE_AFTER_MS + 60_000, false]]) {
    now += Number(later);
    stays.text.insert(0, "x".repeat(CHANGES_BYTES_MAX));
    await stays.binding.flush();
    assert.equal(own(gone.personal, "changes") in (await sizes(one.personal)), left);
  }
  await one.personal.settled();
  const fresh = await open();
  const reader = bound(t, fresh.personal);
  await reader.binding.synced;
  assert.ok(reader.text.toString().endsWith("last words"));
});

test("a document that is bound again is what it was, and writes nothing", async (t) => {
  const app = await devices(t)();
  const first = bound(t, app.personal);
  first.text.insert(0, "kept");
  await first.binding.destroy();
  await app.personal.settled();
  const before = await app.personal.list(FOLDER);
  const again = bound(t, app.personal);
  await again.binding.synced;
  await again.binding.flush();
  assert.equal(again.text.toString(), "kept");
  const digests = (/** @type {any[]} */ entries) => entries.map((one) => [one.path, one.digest]);
  assert.deepEqual(digests(await app.personal.list(FOLDER)), digests(before));
});

test("two documents of one device, as in two tabs, write one entry and lose nothing of each other", async (t) => {
  const app = await devices(t)();
  const [first, second] = [bound(t, app.personal), bound(t, app.personal)];
  for (let round = 0; round < 10; round += 1) {
    first.text.insert(0, "a");
    second.text.insert(0, "b");
    await Promise.all([first.binding.flush(), second.binding.flush()]);
  }
  await until(() => first.text.length === 20 && second.text.length === 20);
  assert.equal(first.text.toString(), second.text.toString());
  const third = bound(t, app.personal);
  await third.binding.synced;
  assert.equal(third.text.toString(), first.text.toString());
  assert.deepEqual(Object.keys(await sizes(app.personal)), [own(app.personal, "changes")]);
});

test("an entry that is no update is told, and neither read nor deleted", async (t) => {
  const app = await devices(t)();
  await app.personal.put(`${FOLDER}another.snapshot`, "nonsense");
  const { binding, errors, text } = bound(t, app.personal);
  await binding.synced;
  assert.equal(/** @type {any} */ (errors[0]).code, "not_an_update");
  text.insert(0, "x".repeat(CHANGES_BYTES_MAX + 1));
  await binding.flush();
  const found = await sizes(app.personal);
  assert.equal(found["another.snapshot"], 8);
  assert.equal(found[own(app.personal, "changes")], 0);
});

test("a document that is too large is told, and nothing of it is written or given up", async (t) => {
  const app = await devices(t)();
  const { binding, errors, text } = bound(t, app.personal);
  text.insert(0, "x".repeat(DOCUMENT_BYTES_MAX));
  await binding.flush();
  assert.equal(/** @type {any} */ (errors[0]).code, "document_too_large");
  assert.deepEqual(await sizes(app.personal), {});
  text.delete(0, DOCUMENT_BYTES_MAX - 1);
  await binding.flush();
  const again = bound(t, app.personal);
  await again.binding.synced;
  assert.equal(again.text.toString(), "x");
});

test("a space that cannot be read says why to who waits for the document, and to nobody else", async (t) => {
  const app = await devices(t, "of-two-keys")();
  await app.personal.put("a", "b");
  await app.personal.settled();
  const stranger = await devices(t, "of-two-keys")();
  const expected = await stranger.personal.settled().catch((/** @type {any} */ error) => error.code);
  assert.equal(typeof expected, "string");
  const { binding } = bound(t, stranger.personal);
  await assert.rejects(binding.synced, { code: expected });
  bound(t, stranger.personal);
  await stranger.personal.settled().catch(() => {});
});
