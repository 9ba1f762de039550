/** People in shared spaces, for tests: a device key, a client, and states that are kept in memory. */

import { utf8 } from "../src/bytes.js";
import { DeviceKey } from "../src/keys.js";
import { encodeFile } from "../src/plaintext.js";
import { spaceKeysOf } from "../src/sharing/index.js";
import { epochOf } from "../src/space_keys.js";
import { SyncClient } from "../src/sync_client.js";
import { account, server } from "./server.js";

/** @typedef {import("../src/sharing/state.js").Ctx} Ctx */
/** @typedef {import("../src/sharing/state.js").SharedState} SharedState */

/**
 * What is kept of one space, in memory.
 *
 * @param {SharedState | null} [state]
 */
export function kept(state = null) {
  return {
    load: async () => structuredClone(state),
    /** @param {(now: SharedState | null) => SharedState} fn */
    async change(fn) {
      const made = fn(structuredClone(state));
      // What is kept is JSON.
      state = JSON.parse(JSON.stringify(made));
      return structuredClone(state);
    },
  };
}

/**
 * Somebody with a connection that ends with the test.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} name Another one in each test: people have limits.
 * @param {Record<string, unknown>} [claims]
 */
export async function person(t, name, claims = {}) {
  const device = await DeviceKey.generate();
  const { token, mailbox } = await account(name, { did: device.did, ...claims });
  const client = new SyncClient({ server, token, limits: { backoffFirstMs: 20 } });
  t.after(() => client.close());
  await client.open();
  const now = () => Date.now() / 1000;
  /** @param {SharedState | null} [state] @returns {Ctx} */
  const ctx = (state) => ({ client, device, now, ...kept(state) });
  return { name, device, did: device.did, mailbox, client, ctx };
}

/**
 * Write a record as a space does.
 *
 * @param {Ctx} ctx
 * @param {string} path
 * @param {number} [epoch]
 * @returns {Promise<{id: string, error: string | undefined}>}
 */
export async function write(ctx, path, epoch) {
  const state = /** @type {SharedState} */ (await ctx.load());
  const keys = spaceKeysOf(state);
  const id = await keys.recordId(path);
  const last = epoch ?? Math.max(...Object.keys(state.keys).map(Number));
  const plain = encodeFile({ kind: "file", version: 1, path, mtimeNs: 0n, content: utf8(path) });
  const sealed = await keys.seal(id, plain, last);
  const change = { id, ...sealed, expected_cursor: 0 };
  const { error } = await ctx.client.push(state.space, [change], { ucan: state.ucan });
  return { id, error };
}

/**
 * The epochs that the keys of records are wrapped for; each opens.
 *
 * @param {Ctx} ctx
 * @returns {Promise<number[]>}
 */
export async function epochsOfRecords(ctx) {
  const state = /** @type {SharedState} */ (await ctx.load());
  const keys = spaceKeysOf(state);
  const epochs = new Set();
  for await (const { dek } of ctx.client.deksGet(state.space, { ucan: state.ucan })) {
    await keys.unwrap(dek);
    epochs.add(epochOf(dek));
  }
  return [...epochs].sort();
}
