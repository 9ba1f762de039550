/** Records of shared spaces as tests write and look at them. */

import { utf8 } from "../src/bytes.js";
import { encodeFile } from "../src/plaintext.js";
import { epochsOf, spaceKeysOf } from "../src/sharing/index.js";
import { epochOf } from "../src/space_keys.js";

/** @typedef {import("../src/sharing/state.js").Ctx} Ctx */
/** @typedef {import("../src/sharing/state.js").SharedState} SharedState */

/**
 * Write a record as a space does; its content is its path.
 *
 * @param {Ctx} ctx
 * @param {string} path
 * @param {number} [epoch] The newest unless given.
 * @returns {Promise<{id: string, error: string | undefined}>}
 */
export async function write(ctx, path, epoch) {
  const state = /** @type {SharedState} */ (await ctx.load());
  const keys = spaceKeysOf(state);
  const id = await keys.recordId(path);
  const plain = encodeFile({ kind: "file", version: 1, path, mtimeNs: 0n, content: utf8(path) });
  const sealed = await keys.seal(id, plain, epoch ?? /** @type {number} */ (epochsOf(state).at(-1)));
  const change = { id, ...sealed, expected_cursor: 0 };
  const { error } = await ctx.client.push(state.space, [change], { ucan: state.ucan });
  return { id, error };
}

/**
 * The epochs that the keys of records are wrapped for; each key opens.
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
