/** The store of browsers: one IndexedDB database per name, one object store in it. */

import { LessSyncError, QuotaExceeded } from "./errors.js";
import { LIST_MAX } from "./store.js";

/** @typedef {import("./store.js").Store} Store */

const VALUES = "values";

/**
 * See the module. What was written survives a tab and a browser that are killed; a power cut may take back the
 * last moments, as browsers do not wait for the disk, and leaves the state after an earlier step.
 *
 * @implements {Store}
 */
export class IndexedDbStore {
  /** @type {Promise<IDBDatabase> | undefined} */
  #database;
  #closed = false;

  /** @param {string} name */
  constructor(name) {
    this.name = `less-sync:${name}`;
  }

  /**
   * @param {readonly string[]} keys
   * @returns {Promise<any[]>}
   */
  read(keys) {
    return this.#transaction("readonly", (values, done) => gathered(values, keys, done));
  }

  /**
   * @param {string} prefix
   * @param {import("./store.js").ListOptions} [options]
   * @returns {Promise<[string, any][]>}
   */
  list(prefix, { after = "", limit = LIST_MAX } = {}) {
    const lower = after > prefix ? after : prefix;
    const range = IDBKeyRange.bound(lower, following(prefix), after !== "", true);
    return this.#transaction("readonly", (values, done) => {
      const keys = values.getAllKeys(range, limit);
      const found = values.getAll(range, limit);
      // Requests of one transaction are answered in their order.
      found.onsuccess = () => {
        done(keys.result.map((key, index) => /** @type {[string, any]} */ ([String(key), found.result[index]])));
      };
    });
  }

  /**
   * @template T
   * @param {readonly string[]} keys
   * @param {import("./store.js").Change<T>} change
   * @returns {Promise<T>}
   */
  update(keys, change) {
    return this.#transaction("readwrite", (values, done, fail) => {
      gathered(values, keys, (found) => {
        try {
          done(
            change(found, (key, value) => {
              if (value === undefined) values.delete(key);
              else values.put(value, key);
            }),
          );
        } catch (error) {
          fail(error);
        }
      });
    });
  }

  /** Nothing may follow. */
  close() {
    this.#closed = true;
    this.#database?.then((database) => database.close(), () => {});
  }

  /**
   * Run one transaction; resolves once it is complete. `work` calls `done` with the result, synchronously or in
   * the callback of a request: a transaction ends by itself when nothing is asked of it any more.
   *
   * @template T
   * @param {IDBTransactionMode} mode
   * @param {(values: IDBObjectStore, done: (result: T) => void, fail: (error: unknown) => void) => void} work
   * @returns {Promise<T>}
   */
  async #transaction(mode, work) {
    for (let attempt = 1; ; attempt++) {
      if (this.#closed) throw new LessSyncError("closed", "the store is closed");
      this.#database ??= opened(this.name, () => (this.#database = undefined));
      const database = await this.#database;
      let transaction;
      try {
        transaction = database.transaction(VALUES, mode);
      } catch (cause) {
        // Some systems end the connections of pages in the background: the next one works.
        this.#database = undefined;
        if (attempt === 1) continue;
        throw new LessSyncError("store", "the browser's storage failed", { cause });
      }
      return await completed(transaction, work);
    }
  }
}

/**
 * @template T
 * @param {IDBTransaction} transaction
 * @param {(values: IDBObjectStore, done: (result: T) => void, fail: (error: unknown) => void) => void} work
 * @returns {Promise<T>}
 */
function completed(transaction, work) {
  return new Promise((resolve, reject) => {
    /** @type {T} */
    let result;
    /** @type {unknown} */
    let thrown;
    transaction.oncomplete = () => resolve(result);
    transaction.onabort = () => reject(thrown ?? meaning(transaction.error));
    const fail = (/** @type {unknown} */ error) => {
      thrown = error;
      transaction.abort();
    };
    work(transaction.objectStore(VALUES), (found) => (result = found), fail);
  });
}

/** @param {DOMException | null} error */
function meaning(error) {
  if (error?.name === "QuotaExceededError") return new QuotaExceeded(undefined, { cause: error });
  return new LessSyncError("store", `the browser's storage failed: ${error?.message ?? "aborted"}`, { cause: error });
}

/**
 * @param {IDBObjectStore} values
 * @param {readonly string[]} keys
 * @param {(found: any[]) => void} done
 */
function gathered(values, keys, done) {
  if (keys.length === 0) {
    done([]);
    return;
  }
  const requests = keys.map((key) => values.get(key));
  const last = /** @type {IDBRequest} */ (requests[requests.length - 1]);
  last.onsuccess = () => done(requests.map((request) => request.result));
}

/**
 * The first text after all that begin with a prefix.
 *
 * @param {string} prefix  not empty, and its last character not the last there is
 */
function following(prefix) {
  const last = prefix.length - 1;
  return prefix.slice(0, last) + String.fromCharCode(prefix.charCodeAt(last) + 1);
}

/**
 * @param {string} name
 * @param {() => void} gone  the browser has ended the connection
 * @returns {Promise<IDBDatabase>}
 */
function opened(name, gone) {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(VALUES);
    request.onerror = () => {
      gone();
      reject(meaning(request.error));
    };
    request.onsuccess = () => {
      const database = request.result;
      database.onclose = gone;
      // A later version of the app in another tab, or somebody who clears the storage, must not wait for us.
      database.onversionchange = () => {
        gone();
        database.close();
      };
      resolve(database);
    };
  });
}
