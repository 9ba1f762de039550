import assert from "node:assert/strict";
import { test } from "node:test";
import { randomBytes, randomUuid, utf8 } from "../src/bytes.js";
import { LessSyncError, RequestFailed, TokenRefused } from "../src/errors.js";
import { SyncClient } from "../src/sync_client.js";
import { account, connections, cut, server, token } from "./server.js";

/** @typedef {import("../src/sync_client.js").Notice} Notice */

/**
 * A client that ends with the test, and what it was told.
 *
 * @param {import("node:test").TestContext} t
 * @param {Partial<import("../src/sync_client.js").SyncClientOptions>} options
 */
function made(t, options) {
  const client = new SyncClient({ server, token: "", limits: { backoffFirstMs: 20 }, ...options });
  /** @type {Notice[]} */
  const notices = [];
  /** @type {string[]} */
  const states = [];
  client.on("notice", (notice) => void notices.push(notice));
  client.on("state", (state) => void states.push(state));
  t.after(() => client.close());
  return { client, notices, states };
}

/** @param {SyncClient} client @param {string} space @param {number} since */
async function pulled(client, space, since) {
  const events = [];
  for await (const event of client.pull(space, since)) events.push(event);
  return events;
}

/** @param {() => boolean} holds */
async function until(holds) {
  for (let waited = 0; !holds(); waited++) {
    assert.ok(waited < 1000, "it did not come to that");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("what one client pushes another hears of and pulls", async (t) => {
  const { token, space } = await account("wire-a");
  const [one, two] = [made(t, { token }), made(t, { token })];
  await Promise.all([one.client.open(), two.client.open()]);
  const answer = await two.client.subscribe([{ id: space }]);
  assert.deepEqual(answer, { spaces: [{ id: space, cursor: 0, key_generation: 1 }], errors: [] });
  const [id, blob, dek] = [randomUuid(), randomBytes(50), randomBytes(44).fill(0, 0, 3).fill(1, 3, 4)];
  const pushed = await one.client.push(space, [{ id, blob, dek, expected_cursor: 0 }]);
  assert.deepEqual(pushed, { ok: true, cursor: 1 });
  await until(() => two.notices.length > 0);
  const record = { id, blob, cursor: 1, dek };
  assert.deepEqual(two.notices, [
    { method: "sync", space, prev: 0, cursor: 1, key_generation: 1, records: [record] },
  ]);
  assert.deepEqual(await pulled(two.client, space, 0), [
    { kind: "begin", space, prev: 0, cursor: 1, key_generation: 1 },
    { kind: "record", space, ...record },
    { kind: "commit", space, prev: 0, cursor: 1, count: 1 },
  ]);
  assert.deepEqual([one.states, one.notices], [["connecting", "online"], []]);
});
