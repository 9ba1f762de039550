/**
 * What keeps a replica between two visits of an app: a small ordered map whose steps are whole or not at all.
 *
 * Everything above it is the same in a browser (`IndexedDbStore`) and in Node (`MemoryStore`). A step reads some
 * values, decides synchronously and writes: in IndexedDB that is one transaction, so two tabs of a browser cannot
 * come in between, and a tab that is killed leaves the state before the step or the one after it.
 */

/**
 * Values are whatever can be cloned structurally: plain data, `Uint8Array`, `CryptoKey`. Keys are text of at most
 * 4 KiB, in the order of their UTF-16 code units.
 *
 * @typedef {object} Store
 * @property {string} name  stores of one name are the same one, in every tab; empty: nobody else can have it
 * @property {(keys: readonly string[]) => Promise<any[]>} read  the values of some keys, as they were in one
 *   moment; undefined for those that are not there
 * @property {(prefix: string, options?: ListOptions) => Promise<[string, any][]>} list  what is below a prefix
 * @property {<T>(keys: readonly string[], change: Change<T>) => Promise<T>} update  one step; rejects with
 *   `QuotaExceeded` when there is no room, and with whatever `change` throws: nothing is written then
 * @property {() => void} close  no call may follow
 */

/**
 * One step: gets the values of the step's keys and calls `write` for each that is to be another one (undefined
 * deletes; also of keys that were not read). It must not wait for anything, and may run more than once.
 *
 * @template T
 * @typedef {(values: any[], write: (key: string, value: any) => void) => T} Change
 */

/**
 * @typedef {object} ListOptions
 * @property {string} [after]  only keys after this one
 * @property {number} [limit]  at most so many; 256 if it is not said
 */

export const LIST_MAX = 256;

/**
 * Walk everything below a prefix, a page at a time. What changes meanwhile may be met or not.
 *
 * @param {Store} store
 * @param {string} prefix
 * @param {number} [page]  how many values are in memory at a time
 * @returns {AsyncGenerator<[string, any], void, void>}
 */
export async function* walk(store, prefix, page = LIST_MAX) {
  let after = "";
  for (;;) {
    const found = await store.list(prefix, { after, limit: page });
    yield* found;
    if (found.length < page) {
      return;
    }
    after = /** @type {[string, any]} */ (found[found.length - 1])[0];
  }
}

/**
 * One value.
 *
 * @param {Store} store
 * @param {string} key
 * @returns {Promise<any>}
 */
export async function readOne(store, key) {
  return (await store.read([key]))[0];
}

/**
 * A step that writes one value, whatever was there; undefined deletes it.
 *
 * @param {Store} store
 * @param {string} key
 * @param {any} value
 * @returns {Promise<void>}
 */
export function writeOne(store, key, value) {
  return store.update([], (_, write) => write(key, value));
}

/**
 * Delete everything below a prefix, a page at a time.
 *
 * @param {Store} store
 * @param {string} prefix
 * @returns {Promise<void>}
 */
export async function clear(store, prefix) {
  for (;;) {
    const found = await store.list(prefix);
    if (found.length === 0) {
      return;
    }
    await store.update([], (_, write) => found.forEach(([key]) => write(key, undefined)));
  }
}

/** The keys of a map in order, until one comes or goes. @type {WeakMap<Map<string, any>, string[]>} */
const SORTED = new WeakMap();

/**
 * A store in memory, for Node and for tests. Values are cloned on the way in and out, as a disk would.
 *
 * @implements {Store}
 */
export class MemoryStore {
  /**
   * @param {object} [options]
   * @param {Map<string, any>} [options.values]  what was kept before; a second store over the same map is what a
   *   restarted process or a second tab sees
   * @param {string} [options.name]
   */
  constructor({ values = new Map(), name = "" } = {}) {
    this.values = values;
    this.name = name;
  }

  /** @param {readonly string[]} keys */
  async read(keys) {
    return keys.map((key) => structuredClone(this.values.get(key)));
  }

  /**
   * @param {string} prefix
   * @param {ListOptions} [options]
   * @returns {Promise<[string, any][]>}
   */
  async list(prefix, { after = "", limit = LIST_MAX } = {}) {
    const sorted = SORTED.get(this.values) ?? [...this.values.keys()].sort();
    SORTED.set(this.values, sorted);
    let [start, end] = [0, sorted.length];
    while (start < end) {
      const middle = (start + end) >> 1;
      const key = /** @type {string} */ (sorted[middle]);
      if (key < prefix || key <= after) start = middle + 1;
      else end = middle;
    }
    const keys = sorted.slice(start, start + limit).filter((key) => key.startsWith(prefix));
    return keys.map((key) => [key, structuredClone(this.values.get(key))]);
  }

  /**
   * @template T
   * @param {readonly string[]} keys
   * @param {Change<T>} change
   * @returns {Promise<T>}
   */
  async update(keys, change) {
    /** @type {[string, any][]} */
    const writes = [];
    const values = keys.map((key) => structuredClone(this.values.get(key)));
    const result = change(values, (key, value) => writes.push([key, structuredClone(value)]));
    for (const [key, value] of writes) {
      if ((value !== undefined) !== this.values.has(key)) SORTED.delete(this.values);
      if (value === undefined) {
        this.values.delete(key);
      } else {
        this.values.set(key, value);
      }
    }
    return result;
  }

  /** Nothing is held. */
  close() {}
}
