/**
 * One replica of a personal space as a process, to be driven, and killed, by a test: a line of JSON in, a line of
 * JSON out. Bytes are base64.
 *
 * Its argument: `{ server, token, key, journal, largeAbove }`. Orders: `put` and `delete` with the digest that is
 * expected there (`was`), `rename`, `files`, `settle`, `pause`, `resume`.
 */

import { createInterface } from "node:readline";
import { LessSync } from "../src/app.js";
import { DeviceKey } from "../src/keys.js";
import { JournalStore } from "./journal_store.js";

const { journal, ...options } = JSON.parse(process.argv[2] ?? "{}");
const store = new JournalStore(journal);
const app = await LessSync.open({ ...options, store, device: await DeviceKey.generate() });
const space = app.personal;
/** @type {string[]} */
const errors = [];
app.on("error", (error) => errors.push(`${/** @type {any} */ (error).code}: ${error.message}`));

/** @param {any[]} items */
async function changed(items) {
  try {
    return (await space.putAll(items)) > 0;
  } catch (error) {
    if (/** @type {any} */ (error).code === "changed") return false;
    throw error;
  }
}

/** @type {Record<string, (order: any) => Promise<any>>} */
const orders = {
  put: ({ path, bytes, was }) => changed([[path, Buffer.from(bytes, "base64"), was]]),
  delete: ({ path, was }) => changed([[path, undefined, was]]),
  rename: async ({ path, to, was }) => {
    // The parts of a content go with the push that replaces it, which this replica may not have pulled yet.
    const entry = await space.get(path).catch((error) => {
      if (error.code !== "not_fetched") throw error;
    });
    return entry?.digest === was && (await changed([[path, undefined, was], [to, entry?.bytes, null]]));
  },
  digests: async () => Object.fromEntries((await space.list()).map((entry) => [entry.path, entry.digest])),
  files: async () => {
    /** @type {Record<string, string>} */
    const found = {};
    for (const { path } of await space.list()) {
      found[path] = Buffer.from((await space.get(path))?.bytes ?? []).toString("base64");
    }
    return found;
  },
  settle: () => space.settled(),
  pause: async () => app.pause(),
  resume: async () => app.resume(),
  errors: async () => errors.splice(0),
};

console.log(JSON.stringify("ready"));
for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  try {
    console.log(JSON.stringify({ result: (await orders[order.do]?.(order)) ?? null }));
  } catch (error) {
    const { code, message } = /** @type {any} */ (error);
    console.log(JSON.stringify({ error: `${code}: ${message}` }));
  }
}
await app.close();
