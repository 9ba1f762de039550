/** Clients of a test, which end with it, and what they were told. */

import assert from "node:assert/strict";
import { SyncClient } from "../src/sync_client.js";

/** @typedef {import("../src/sync_client.js").Notice} Notice */

/**
 * @param {import("node:test").TestContext} t
 * @param {import("../src/sync_client.js").SyncClientOptions} options
 */
export function made(t, options) {
  const client = new SyncClient(options);
  /** @type {Notice[]} */
  const notices = [];
  /** @type {string[]} */
  const states = [];
  client.on("notice", (notice) => void notices.push(notice));
  client.on("state", (state) => void states.push(state));
  t.after(() => client.close());
  return { client, notices, states };
}

/**
 * Everything a pull yields.
 *
 * @param {SyncClient} client
 * @param {string} space
 * @param {number} since
 * @param {string} [ucan]
 */
export async function pulled(client, space, since, ucan) {
  const events = [];
  for await (const event of client.pull(space, since, { ucan })) events.push(event);
  return events;
}

/**
 * Wait for what others do, 10 s at most.
 *
 * @param {() => unknown} holds
 * @param {string} [what]
 */
export async function until(holds, what = "it did not come to that") {
  for (let waited = 0; !(await holds()); waited++) {
    assert.ok(waited < 2000, what);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
