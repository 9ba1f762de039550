import assert from "node:assert/strict";
import test from "node:test";
import { SyncClient } from "../../../clients/js/src/index.js";
import { server, token } from "../../../clients/js/tests/server.js";
import { bound, devices, own, sizes, until } from "../../../clients/js/tests/yjs_devices.js";

const USER = "typist";
const KEYSTROKES = 10_000;
/** A fast typist is written after every third keystroke. Here it is every 25th, to end sooner. */
const WRITES = 400;

/**
 * What the server has of a personal space, and how many pushes it took.
 *
 * @param {string} space
 */
async function atServer(space) {
  const client = new SyncClient({ server, token: await token(USER) });
  void client.open();
  let [records, bytes, pushes] = [0, 0, 0];
  for await (const event of client.pull(space, 0)) {
    if (event.kind === "record") [records, bytes] = [records + 1, bytes + (event.blob?.length ?? 0)];
    if (event.kind === "begin") pushes = event.cursor;
  }
  await client.close();
  return { records, bytes, pushes };
}

test("ten thousand keystrokes of one reach the other, in one entry that stays small", async (t) => {
  const open = devices(t, USER);
  const [one, other] = [await open(), await open()];
  const [writer, reader] = [bound(t, one.personal), bound(t, other.personal)];
  await reader.binding.synced;
  let written = 0;
  one.personal.on("change", async ({ path }) => (written += (await one.personal.get(path))?.size ?? 0));
  for (let typed = 0; typed < KEYSTROKES; typed += KEYSTROKES / WRITES) {
    const { text } = writer;
    // Each run of keys somewhere else, as in a document that is worked over.
    let place = Math.floor((text.length * ((typed * 7) % 11)) / 11);
    for (let key = 0; key < KEYSTROKES / WRITES; key += 1) text.insert(place++, "abcdefghij"[key % 10] ?? "");
    await writer.binding.flush();
    await one.personal.settled();
  }
  await until(() => reader.text.length === KEYSTROKES);
  assert.equal(reader.text.toString(), writer.text.toString());
  assert.deepEqual([writer.errors, reader.errors], [[], []]);
  const found = await sizes(one.personal);
  assert.deepEqual(Object.keys(found), [own(one.personal, "changes")]);
  const { records, bytes, pushes } = await atServer(one.personal.id);
  t.diagnostic(`${pushes} pushes of ${written} bytes in all; at the end ${records} records of ${bytes} bytes`);
  assert.deepEqual([records, pushes], [1, WRITES]);
  assert.ok(bytes < 2 * KEYSTROKES);
  assert.ok(written < WRITES * KEYSTROKES);
});
