/**
 * What one space keeps in the store, and every step that changes it. No network, nothing is encrypted here.
 *
 * Two tabs may work on one store at once. Each step reads what it changes in its own transaction, so whatever
 * another tab wrote before it is seen, and whatever it writes after it starts from this.
 */

import { Contents } from "./contents.js";
import { Keys, newRow, writeRow } from "./rows.js";
import { clear, readOne, walk, writeOne } from "./store.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Write} Write */

/**
 * @typedef {object} Meta
 * @property {number} cursor  everything up to it was seen; -1 at first, which makes the server show tombstones
 * @property {boolean} proves  whether the space was ever seen to hold a record of format 2
 * @property {boolean} agreed  whether anything was ever agreed on with the server
 * @property {boolean} [forgetting]  a `forget` has begun and is not known to have ended
 */

/**
 * A content record as the server has it. `parts` are ids.
 *
 * @typedef {object} KnownContent
 * @property {number} cursor
 * @property {number} size
 * @property {string} digest  hex
 * @property {number} partBytes
 * @property {string[]} parts
 */

/**
 * A content on its way to the server. Key and nonce of each part are here before its first byte is sent, so that
 * what is sent again is the same, byte for byte. `cursor`: of the content record; null while it is not known to
 * be there.
 *
 * @typedef {object} Upload
 * @property {string} record
 * @property {string} digest  hex
 * @property {number} size
 * @property {number} partBytes
 * @property {{ id: string, dek: Uint8Array, nonce: Uint8Array, done: boolean }[]} parts
 * @property {number | null} cursor
 */

/** @typedef {{ id: string, kind: "content" | "deletion", size: number, group: string | null }} Waiting */

/** @type {Meta} */
export const NEW_META = { cursor: -1, proves: false, agreed: false };

/** See the module. */
export class Kept {
  #waiting = 0;

  /**
   * @param {import("./store.js").Store} store
   * @param {string} space
   * @param {() => number} [now]  milliseconds since 1970
   */
  constructor(store, space, now) {
    this.store = store;
    this.keys = new Keys(space);
    this.contents = new Contents(store, this.keys, now);
    /** @type {(waiting: number) => void} */
    this.onWaiting = () => {};
  }

  /** How many rows wait to be sent, as far as this tab knows. */
  get waiting() {
    return this.#waiting;
  }

  /** What another tab says of it. */
  set waiting(waiting) {
    this.#waiting = waiting;
  }

  /** @param {number} waiting */
  #setWaiting(waiting) {
    const changed = waiting !== this.#waiting;
    this.#waiting = waiting;
    if (changed) {
      this.onWaiting(waiting);
    }
  }

  /**
   * One step over some rows: `change` gets them as they are now, in a map in which it sets those that are to be
   * others; beside it the values of more keys, and `write` for these.
   *
   * @template T
   * @param {readonly string[]} ids
   * @param {(rows: Map<string, Row>, more: any[], write: Write) => T} change
   * @param {readonly string[]} [more]
   * @returns {Promise<T>}
   */
  async change(ids, change, more = []) {
    let moved = 0;
    /** @type {Set<string>} */
    let dropped = new Set();
    const keys = [...ids.map(this.keys.row), ...more];
    const result = await this.store.update(keys, (values, write) => {
      const former = new Map(ids.map((id, index) => [id, /** @type {Row} */ (values[index] ?? newRow(id))]));
      const rows = new Map(former);
      const found = change(rows, values.slice(ids.length), write);
      const changed = [...rows].filter(([id, row]) => row !== former.get(id));
      moved = 0;
      dropped = new Set(changed.flatMap(([id]) => former.get(id)?.local?.file ?? []));
      for (const [id, row] of changed) {
        moved += writeRow(this.keys, write, row, former.get(id) ?? newRow(id));
      }
      rows.forEach((row) => dropped.delete(row.local?.file ?? ""));
      return found;
    });
    this.#setWaiting(Math.max(0, this.#waiting + moved));
    for (const file of dropped) {
      await this.contents.drop(file).catch(() => {}); // The step is done, and `sweep` removes it later.
    }
    return result;
  }

  /** @param {readonly string[]} ids @returns {Promise<(Row | undefined)[]>} */
  rows(ids) {
    return this.store.read(ids.map(this.keys.row));
  }

  /** @param {string} id @returns {Promise<Row | undefined>} */
  async row(id) {
    return (await this.rows([id]))[0];
  }

  /**
   * Walk the rows of what is here, by path.
   *
   * @param {string} prefix
   * @returns {AsyncGenerator<Row, void, void>}
   */
  async *here(prefix) {
    const limit = 128;
    let after = "";
    for (;;) {
      const found = await this.store.list(this.keys.path(prefix), { after, limit });
      const rows = await this.rows(found.map(([, id]) => id));
      for (const row of rows) {
        // Between the two reads it may have been deleted.
        if (row && row.local) {
          yield row;
        }
      }
      if (found.length < limit) return;
      after = /** @type {[string, any]} */ (found[found.length - 1])[0];
    }
  }

  // What waits.

  /** What waits to be sent, by record; it is counted by this. @returns {Promise<Waiting[]>} */
  async outbox() {
    const found = [];
    const prefix = this.keys.outbox("");
    for await (const [key, value] of walk(this.store, prefix)) {
      found.push({ id: key.slice(prefix.length), ...value });
    }
    this.#setWaiting(found.length);
    return found;
  }

  /** The lowest cursor of what could not be applied and is to be asked for again. */
  async firstWanted() {
    /** @type {number | undefined} */
    let first;
    for await (const [, cursor] of walk(this.store, this.keys.wanted(""))) {
      first = first === undefined ? cursor : Math.min(first, cursor);
    }
    return first;
  }

  // The space itself.

  /** @returns {Promise<Meta>} */
  async meta() {
    return (await readOne(this.store, this.keys.meta)) ?? NEW_META;
  }

  /** @param {Partial<Meta>} meta */
  async #setMeta(meta) {
    await this.store.update([this.keys.meta], ([former], write) => {
      write(this.keys.meta, { ...NEW_META, ...former, ...meta });
    });
  }

  /** Everything up to a cursor was seen. It never goes back: another tab may have seen more. @param {number} to */
  async advance(to) {
    await this.store.update([this.keys.meta], ([former = NEW_META], write) => {
      if (to > former.cursor) {
        write(this.keys.meta, { ...former, cursor: to });
      }
    });
  }

  /**
   * Drop all that was agreed on, and the cursor: the server is not the one it was. What is here stays and is
   * compared anew; the versions stay, so that a server cannot bring an older one back by this. A kill in between
   * is made good by the next call, which `meta().forgetting` asks for.
   */
  async forget() {
    await this.#setMeta({ cursor: -1, forgetting: true });
    await clear(this.store, this.keys.content(""));
    for await (const [, row] of walk(this.store, this.keys.row(""), 128)) {
      await this.change([row.id], (rows) => {
        const now = /** @type {Row} */ (rows.get(row.id));
        rows.set(row.id, { ...now, base: null, pending: null, sent: null, content: null, lost: false });
      });
    }
    for (const upload of await this.uploads()) {
      const parts = upload.parts.map((part) => ({ ...part, done: false }));
      await this.putUpload({ ...upload, parts, cursor: null });
    }
    await this.#setMeta({ forgetting: false });
  }

  // Contents at the server.

  /** @param {string} record @returns {Promise<KnownContent | undefined>} */
  async content(record) {
    return readOne(this.store, this.keys.content(record));
  }

  /**
   * Note a content record as the server has it; if it is one of an upload, that one is there, then.
   *
   * @param {string} record
   * @param {KnownContent} known
   */
  async putContent(record, known) {
    await this.store.update([this.keys.upload(record)], ([upload], write) => {
      noteContent(this.keys, write, record, known, upload);
    });
  }

  /** Forget content records that were deleted on the server. @param {readonly string[]} records */
  async dropContents(records) {
    await this.store.update([], (_, write) => records.forEach((one) => dropContent(this.keys, write, one)));
  }

  /** @returns {Promise<Upload[]>} */
  async uploads() {
    const found = [];
    for await (const [, upload] of walk(this.store, this.keys.upload(""))) {
      found.push(upload);
    }
    return found;
  }

  /** @param {Upload} upload */
  async putUpload(upload) {
    await writeOne(this.store, this.keys.upload(upload.record), upload);
  }

  /** The server has a part. @param {string} record @param {number} number */
  async partSent(record, number) {
    const key = this.keys.upload(record);
    await this.store.update([key], ([upload], write) => {
      if (upload !== undefined) {
        upload.parts[number].done = true;
        write(key, upload);
      }
    });
  }
}

/**
 * @param {Keys} keys
 * @param {Write} write
 * @param {string} record
 * @param {KnownContent} known
 * @param {Upload | undefined} upload  the one of this record
 */
export function noteContent(keys, write, record, known, upload) {
  write(keys.content(record), known);
  if (upload) {
    write(keys.upload(record), { ...upload, cursor: known.cursor });
  }
}

/**
 * @param {Keys} keys
 * @param {Write} write
 * @param {string} record
 */
export function dropContent(keys, write, record) {
  write(keys.content(record), undefined);
  write(keys.upload(record), undefined);
}
