import { appendFileSync, closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { deserialize, serialize } from "node:v8";
import { MemoryStore } from "../src/store.js";

/**
 * A store that outlives its process, killed at any moment: each step is a line of a file. A line that a kill has
 * cut short is a step that was not made. The device's key is not kept: it cannot be read.
 */
export class JournalStore extends MemoryStore {
  #file;

  /** @param {string} path */
  constructor(path) {
    super({ values: existsSync(path) ? replayed(path) : new Map() });
    this.#file = openSync(path, "a");
  }

  /**
   * @template T
   * @param {readonly string[]} keys
   * @param {import("../src/store.js").Change<T>} change
   * @returns {Promise<T>}
   * @override
   */
  update(keys, change) {
    return super.update(keys, (values, write) => {
      /** @type {[string, any][]} */
      const writes = [];
      const result = change(values, (key, value) => writes.push([key, value]));
      const kept = writes.filter(([key]) => key !== "a/device");
      if (kept.length > 0) appendFileSync(this.#file, `\n${serialize(kept).toString("base64")}.`);
      writes.forEach(([key, value]) => write(key, value));
      return result;
    });
  }

  /** @override */
  close() {
    closeSync(this.#file);
  }
}

/** @param {string} path */
function replayed(path) {
  /** @type {Map<string, any>} */
  const values = new Map();
  for (const line of readFileSync(path, "latin1").split("\n")) {
    if (!line.endsWith(".")) continue;
    for (const [key, value] of deserialize(Buffer.from(line.slice(0, -1), "base64"))) {
      if (value === undefined) values.delete(key);
      else values.set(key, value);
    }
  }
  return values;
}
