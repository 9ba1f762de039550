/**
 * Replicas without a network: a server in memory that keeps the rules of docs/protocol.md 7.4 and 7.5, and can
 * lie; stores whose process is killed between two steps, or that have no room.
 */

import { FilesNotServed, QuotaExceeded } from "../src/errors.js";
import { Kept } from "../src/kept.js";
import { SpaceKeys } from "../src/space_keys.js";
import { Space } from "../src/space.js";
import { MemoryStore } from "../src/store.js";

export const SPACE = "da29e793-3f05-51c3-9f72-63cc953f9c05";
export const KEYS = () => SpaceKeys.personal(new Uint8Array(32).map((_, index) => index), SPACE);

/** @typedef {{ id: string, cursor: number, blob?: Uint8Array, dek?: Uint8Array, deleted?: boolean }} Kept_ */

/** What a server keeps of one space. */
export class World {
  cursor = 0;
  epoch = 1;
  /** @type {Map<string, Kept_>} */
  records = new Map();
  /** @type {Map<string, { record: string, dek: Uint8Array, body: Uint8Array }>} */
  files = new Map();
  /** How often each thing was asked for. @type {Record<string, number>} */
  asked = {};
  /** Whether the next push is written and its answer lost. */
  losesAnswer = false;
  withoutFiles = false;
  /** Whether subscribing is refused. */
  refuses = false;

  /** @param {readonly any[]} changes */
  push(changes) {
    for (const { id, expected_cursor: expected } of changes) {
      const found = this.records.get(id);
      if ((found?.cursor ?? 0) !== expected) return { ok: false, error: "conflict" };
    }
    this.cursor += 1;
    for (const { id, blob, dek } of changes) {
      const { cursor } = this;
      this.records.set(id, blob ? { id, cursor, blob, dek } : { id, cursor, deleted: true });
      if (blob) continue;
      for (const [file, { record }] of this.files) if (record === id) this.files.delete(file);
    }
    return { ok: true, cursor: this.cursor };
  }

  /** @param {number} since */
  since(since) {
    const found = [...this.records.values()].filter((record) => record.cursor > since);
    return found.sort((one, other) => one.cursor - other.cursor || (one.id < other.id ? -1 : 1));
  }
}

/** What a client of that server can do. */
export class WorldClient {
  state = "online";

  /** @param {World} world */
  constructor(world) {
    this.world = world;
    this.files = {
      put: async (/** @type {string} */ _, /** @type {string} */ file, /** @type {any} */ { record, dek, body }) => {
        this.#count("put");
        if (this.world.withoutFiles) throw new FilesNotServed();
        if (this.world.files.has(file)) return "present";
        const bytes = new Uint8Array(await body.arrayBuffer());
        this.world.files.set(file, { record, dek, body: bytes });
        return "stored";
      },
      get: async (/** @type {string} */ _, /** @type {string} */ file) => {
        this.#count("get");
        return this.world.files.get(file);
      },
    };
  }

  /** @param {string} what */
  #count(what) {
    this.world.asked[what] = (this.world.asked[what] ?? 0) + 1;
  }

  /** @param {readonly { id: string }[]} entries */
  async subscribe([entry]) {
    this.#count("subscribe");
    const id = entry?.id ?? "";
    if (this.world.refuses) return { spaces: [], errors: [{ space: id, error: "forbidden" }] };
    return { spaces: [{ id, cursor: this.world.cursor, key_generation: this.world.epoch }], errors: [] };
  }

  /** @param {string} _ @param {readonly any[]} changes */
  async push(_, changes) {
    this.#count("push");
    const answer = this.world.push(changes);
    if (answer.ok && this.world.losesAnswer) {
      this.world.losesAnswer = false;
      throw new Error("the answer was lost");
    }
    return answer;
  }

  /** @param {string} space @param {number} since */
  async *pull(space, since) {
    this.#count("pull");
    const { cursor, epoch } = this.world;
    yield { kind: "begin", space, prev: since, cursor, key_generation: epoch };
    const found = this.world.since(since);
    for (const record of found) yield { kind: "record", space, ...record };
    yield { kind: "commit", space, prev: since, cursor, count: found.length };
  }
}

/** The process was killed here. */
export class Killed extends Error {}

/** Kills its process at a step, before or after it is written; then nothing works any more. */
export class MortalStore extends MemoryStore {
  /** @type {(error: Error) => void} */
  #die = () => {};
  dead = false;
  /** @type {Promise<never>} */
  death = new Promise((_, reject) => (this.#die = reject));

  /** @param {Map<string, any>} values @param {number} [left] steps until it dies, twice: before and after one */
  constructor(values, left = Infinity) {
    super({ values });
    this.left = left;
    this.death.catch(() => {});
  }

  #burn() {
    this.left -= 1;
    if (this.left < 0) {
      this.dead = true;
      this.#die(new Killed());
    }
    if (this.dead) throw new Killed();
  }

  /**
   * @template T
   * @param {readonly string[]} keys
   * @param {import("../src/store.js").Change<T>} change
   * @returns {Promise<T>}
   * @override
   */
  async update(keys, change) {
    this.#burn();
    const result = await super.update(keys, change);
    this.#burn();
    return result;
  }
}

/** Has no room for more than so many bytes of values, or for any after so many steps. */
export class FullStore extends MemoryStore {
  bytesMax = Infinity;
  fullAfter = Infinity;

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
      const after = new Map([...this.values, ...writes]);
      const more = writes.some(([, value]) => value !== undefined);
      if (this.fullAfter-- <= 0 || (more && sizeOf([...after.values()]) > this.bytesMax)) throw new QuotaExceeded();
      writes.forEach(([key, value]) => write(key, value));
      return result;
    });
  }
}

/** @param {unknown} value @returns {number} */
export function sizeOf(value) {
  if (value instanceof Uint8Array) return value.length;
  if (typeof value !== "object" || value === null) return 8;
  return Object.values(value).reduce((sum, one) => sum + sizeOf(one), 0);
}

const CLOCK = {
  now: () => performance.now(),
  setTimeout: (/** @type {() => void} */ act) => setTimeout(act, 0),
  clearTimeout: (/** @type {any} */ timer) => clearTimeout(timer),
};

/**
 * A replica; `events` is what it has told.
 *
 * @param {World} world
 * @param {import("../src/store.js").Store} store
 * @param {object} [options]
 * @param {import("../src/space.js").Merge} [options.merge]
 * @param {import("../src/space_keys.js").SpaceKeys} [options.keys]
 * @param {number} [options.largeAbove]
 * @param {(epoch: number) => Promise<void>} [options.learn]
 * @param {import("../src/clock.js").Clock} [options.clock]
 */
export async function replica(world, store, options = {}) {
  const { merge, keys = KEYS(), largeAbove = 1000, learn, clock = CLOCK } = options;
  const client = new WorldClient(world);
  const access = { ucan: async () => undefined, mayWrite: () => true, learn: learn ?? (async () => {}) };
  const space = new Space({
    id: SPACE,
    kept: new Kept(store, SPACE),
    keys,
    client: /** @type {any} */ (client),
    tabs: /** @type {any} */ ({ leads: true, post: () => {} }),
    access,
    ...(merge ? { merge } : {}),
    largeAbove,
    clock,
    random: () => 0,
    now: () => new Date(2026, 10, 26, 7, 30, 0),
  });
  /** @type {string[]} */
  const events = [];
  space.on("change", ({ path, deleted, origin }) => events.push(`${origin} ${deleted ? "deleted" : "changed"} ${path}`));
  space.on("conflict", ({ path, copy }) => events.push(`conflict ${path} -> ${copy}`));
  space.on("error", (error) => events.push(`error ${error.code ?? error.message}`));
  await space.open();
  return { space, client, events };
}

/** The texts that are here, by path. @param {Space} space */
export async function texts(space) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const { path } of await space.list()) found[path] = (await space.get(path))?.text() ?? "";
  return found;
}
