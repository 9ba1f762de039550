/**
 * Taking over the user's key on a device that made one of its own first: where the ids of records derive from the
 * key, what was put before has to get others. Only possible while nothing can be on the server: what was sent, or
 * begun, under the former key could neither be opened with the new one nor be sent again.
 */

import { Refused } from "./errors.js";
import { Kept } from "./kept.js";
import { newRow, writeRow } from "./rows.js";

/**
 * @param {import("./store.js").Store} store
 * @param {string} space
 * @param {import("./space_keys.js").SpaceKeys} keys  the new ones
 * @param {(write: (key: string, value: any) => void) => void} keep  writes the new key, in the same step
 * @returns {Promise<void>}
 * @throws {Refused} `another_key`: what is kept here was sent to the server under another key, or may have been
 */
export async function rekey(store, space, keys, keep) {
  const kept = new Kept(store, space);
  /** @type {{ row: import("./rows.js").Row, id: string }[]} */
  const here = [];
  for await (const row of kept.here("")) here.push({ row, id: await keys.recordId(row.path) });
  const sent = here.some(({ row }) => row.sent !== null) || (await kept.uploads()).length > 0;
  await store.update([kept.keys.meta], ([meta], write) => {
    if (sent || meta?.agreed) throw new Refused("another_key", "this store has another key");
    for (const { row } of here) {
      for (const key of [kept.keys.row(row.id), kept.keys.outbox(row.id)]) write(key, undefined);
    }
    for (const { row, id } of here) {
      const made = newRow(id, row.path);
      writeRow(kept.keys, write, { ...made, local: row.local }, made);
    }
    keep(write);
  });
}
