import assert from "node:assert/strict";
import test from "node:test";
import { LessSync } from "../src/app.js";
import { server, token } from "./server.js";

const LARGE = 300 * 1024;

/** @param {import("node:test").TestContext} t @param {Partial<import("../src/app.js").OpenOptions>} options */
async function opened(t, options) {
  const app = await LessSync.open({ server, token: "", ...options });
  t.after(() => app.close());
  return app;
}

test("whoever gives tokens is told the DID of the device, of which each space knows too", async (t) => {
  /** @type {string[]} */
  const asked = [];
  const source = (/** @type {string} */ did) => (asked.push(did), token("asked", { did }));
  const app = await opened(t, { token: source });
  const shared = await app.createSpace();
  assert.deepEqual([...new Set(asked)], [app.did]);
  assert.deepEqual([app.personal.did, shared.did], [app.did, app.did]);
});

test("an entry that is rewritten does not reach the server before what was put together with it", async (t) => {
  const writer = await opened(t, { token: await token("together") });
  const reader = await opened(t, { token: await token("together"), key: await writer.exportKey() });
  await Promise.all([writer.personal.settled(), reader.personal.settled()]);
  /** @type {string[]} */
  const order = [];
  reader.personal.on("change", ({ path }) => order.push(path));
  writer.pause();
  await writer.personal.putAll([["whole", new Uint8Array(LARGE)], ["rest", "none"]]);
  await writer.personal.put("rest", "little");
  writer.resume();
  await writer.personal.settled();
  await reader.personal.settled();
  assert.deepEqual(order, ["whole", "rest"]);
});
