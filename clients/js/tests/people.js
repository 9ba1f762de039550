/** People in shared spaces, for tests: a device key, a client, and states that are kept in memory. */

import { DeviceKey } from "../src/keys.js";
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
