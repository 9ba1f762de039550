/**
 * A Yjs document in a space: everybody who may write to the space edits it at once, offline too.
 *
 *     import * as Y from "yjs";
 *     const ydoc = new Y.Doc();
 *     const binding = bindYjs(space, "notes/todo", ydoc, { Y });
 *     await binding.synced;
 *
 * Below `notes/todo.yjs/` each device has two entries, which nobody else writes to: its *changes* (its own updates
 * that no snapshot has, as one, rewritten at most every 300 ms) and its *snapshot* (the whole document). Who finds
 * more than 64 KiB of changes, its own and those of others, writes a snapshot, empties its changes and deletes the
 * other snapshots in one step and one push. So there is one snapshot, or for a moment one for each of those who wrote at
 * once, and all of them are read. Updates of Yjs may be applied in any order and any number of times: whatever
 * combination of entries a device sees, nothing is missing that any of them says.
 *
 * The Yjs module is passed in, because documents of two copies of it do not work with each other.
 */
import { hex, sha256 } from "./bytes.js";
import { LessSyncError } from "./errors.js";

/** How long edits are gathered before they are written. */
export const WRITE_AFTER_MS = 300;
/** Changes of all devices that no snapshot has: beyond, whoever writes next writes a snapshot. */
export const CHANGES_BYTES_MAX = 64 * 1024;
/** A document whose whole state is larger is not written any more (`document_too_large`). */
export const DOCUMENT_BYTES_MAX = 16 * 1024 * 1024;
/** Entries of a device that has written nothing for so long are deleted once a snapshot has what they say. */
export const GONE_AFTER_MS = 30 * 24 * 3600 * 1000;
/** What failed to be written is tried again, later each time up to this. */
export const RETRY_MS_MAX = 30_000;

const STEPS_MAX = 8;
const SNAPSHOT = ".snapshot";
/** Of the end of a device's DID: enough to tell the devices of one space apart. */
const DEVICE_CHARS = 16;
const EMPTY = new Uint8Array(0);
/** What Yjs writes for "nothing": no structs, no deletions. */
const NOTHING_BYTES = 2;

/**
 * What is used of the module "yjs", 13.6 or newer.
 *
 * @typedef {object} YjsModule
 * @property {(ydoc: any, update: Uint8Array, origin?: any) => void} applyUpdate
 * @property {(updates: Uint8Array[]) => Uint8Array} mergeUpdates
 * @property {(update: Uint8Array, stateVector: Uint8Array) => Uint8Array} diffUpdate
 * @property {(ydoc: any, stateVector?: Uint8Array) => Uint8Array} encodeStateAsUpdate
 * @property {(update: Uint8Array) => Uint8Array} encodeStateVectorFromUpdate
 */

/**
 * @typedef {object} YjsDocument  a `Y.Doc`
 * @property {(event: "update", listener: (update: Uint8Array, origin: any) => void) => any} on
 * @property {(event: "update", listener: (update: Uint8Array, origin: any) => void) => any} off
 */

/**
 * @typedef {object} YjsOptions
 * @property {YjsModule} Y  the module that `ydoc` is made with
 * @property {(error: unknown) => void} [onError]  an entry that is no update of Yjs, or a write that failed (it is
 *   tried again); without it errors go to the console
 * @property {() => number} [now]  milliseconds since 1970
 */

/**
 * Keep a Yjs document and the entries below `PATH.yjs/` of a space in agreement.
 *
 * @param {import("./space.js").Space} space
 * @param {string} path  of the document; it needs no entry of its own
 * @param {YjsDocument} ydoc  what it holds already is written too
 * @param {YjsOptions} options
 * @returns {YjsBinding}
 */
export function bindYjs(space, path, ydoc, options) {
  return new YjsBinding(space, path, ydoc, options);
}

/**
 * An entry as it was read.
 *
 * @typedef {object} Known
 * @property {string} digest  of its bytes
 * @property {Uint8Array | undefined} update  undefined: it is no update of Yjs
 * @property {number} mtime  milliseconds since 1970
 */

/** A document that is bound; `bindYjs` makes it. */
export class YjsBinding {
  #space;
  #ydoc;
  #Y;
  #onError;
  #now;
  #folder;
  #changes;
  #snapshot;
  #off;
  /** @type {Uint8Array[]} own updates that are in no entry yet */
  #pending = [];
  /** @type {Map<string, Known>} the entries that the document has, by path */
  #known = new Map();
  /** @type {{ of: string, vector: Uint8Array | undefined }} */
  #vector = { of: "", vector: undefined };
  /** @type {Promise<unknown>} what reads and writes entries, one after the other */
  #work = Promise.resolve();
  #reading = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #failures = 0;
  #ended = false;

  /**
   * Resolves when the document has all that was in the space, on the server too: offline that is later. Rejects as
   * `space.settled()` does, with what will not pass by itself.
   *
   * @type {Promise<void>}
   */
  synced;

  /**
   * @param {import("./space.js").Space} space
   * @param {string} path
   * @param {YjsDocument} ydoc
   * @param {YjsOptions} options
   */
  constructor(space, path, ydoc, { Y, onError = console.error, now = Date.now }) {
    this.#space = space;
    this.#ydoc = ydoc;
    this.#Y = Y;
    this.#onError = onError;
    this.#now = now;
    this.#folder = `${path}.yjs/`;
    const device = space.did.slice(-DEVICE_CHARS);
    this.#changes = `${this.#folder}${device}.changes`;
    this.#snapshot = `${this.#folder}${device}${SNAPSHOT}`;
    const had = Y.encodeStateAsUpdate(ydoc);
    if (had.length > NOTHING_BYTES) {
      this.#edited(had, undefined);
    }
    ydoc.on("update", this.#edited);
    this.#off = space.on("change", this.#heard);
    globalThis.document?.addEventListener("visibilitychange", this.#hidden);
    this.synced = this.#sync();
    this.synced.catch(() => {}); // An app need not wait for it; the space tells of the same.
  }

  /**
   * Write what was edited and is not written yet, without waiting for the 300 ms. A page does so by itself when it
   * is hidden.
   *
   * @returns {Promise<void>} resolves when it is kept on this device, or was reported to `onError`
   */
  flush() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    return this.#inTurn(() => this.#write());
  }

  /**
   * Write what is left and let go of document and space.
   *
   * @returns {Promise<void>}
   */
  async destroy() {
    this.#ended = true;
    this.#ydoc.off("update", this.#edited);
    this.#off();
    globalThis.document?.removeEventListener("visibilitychange", this.#hidden);
    await this.flush();
    clearTimeout(this.#timer);
  }

  async #sync() {
    await this.#inTurn(() => this.#read());
    await this.#space.settled();
    if (!this.#ended) await this.#inTurn(() => this.#read());
  }

  /** @param {Uint8Array} update @param {unknown} origin */
  #edited = (update, origin) => {
    if (origin !== this) {
      this.#pending.push(update);
      this.#writeAfter(WRITE_AFTER_MS);
    }
  };

  /** @param {{ path: string }} event */
  #heard = ({ path }) => {
    // One reading takes all that has changed by then: it is behind at most one that runs already.
    if (path.startsWith(this.#folder) && !this.#reading) {
      this.#reading = true;
      void this.#inTurn(() => this.#read());
    }
  };

  #hidden = () => {
    if (globalThis.document.visibilityState === "hidden") {
      void this.flush();
    }
  };

  /** @param {number} ms */
  #writeAfter(ms) {
    if (this.#timer === undefined && !this.#ended) {
      this.#timer = setTimeout(() => void this.flush(), ms);
    }
  }

  /**
   * Do it after all that was begun before. What goes wrong is told to the app and undoes nothing: updates that
   * were not written stay pending.
   *
   * @param {() => Promise<void>} step
   * @returns {Promise<void>}
   */
  #inTurn(step) {
    const done = this.#work.then(step).catch((error) => this.#onError(error));
    this.#work = done.catch(() => {}); // What `onError` throws itself holds up nothing here.
    return done;
  }

  /** Apply every entry that is not known as it is now. */
  async #read() {
    this.#reading = false;
    const entries = await this.#space.list(this.#folder);
    const there = new Set(entries.map((entry) => entry.path));
    for (const path of this.#known.keys()) {
      if (!there.has(path)) {
        this.#known.delete(path);
      }
    }
    for (const listed of entries) {
      if (this.#known.get(listed.path)?.digest !== listed.digest) {
        const entry = listed.large ? await this.#space.get(listed.path) : listed;
        if (entry !== undefined) {
          this.#apply(entry);
        }
      }
    }
  }

  /** @param {import("./space.js").Entry} entry */
  #apply({ path, bytes, digest, mtime }) {
    /** @type {Uint8Array | undefined} */
    let update = bytes;
    try {
      if (bytes.length > 0) {
        this.#Y.applyUpdate(this.#ydoc, bytes, this);
      }
    } catch (cause) {
      update = undefined;
      this.#onError(new LessSyncError("not_an_update", `${path}: not an update of Yjs`, { cause }));
    }
    this.#known.set(path, { digest, update, mtime: mtime.getTime() });
  }

  /** Put what is pending into an entry; what fails stays pending, and is tried again later and later. */
  async #write() {
    if (this.#pending.length === 0) {
      return;
    }
    try {
      for (let attempt = 1; !(await this.#step()); attempt += 1) {
        if (attempt === STEPS_MAX) {
          throw new LessSyncError("changed", `${this.#changes}: changed by others again and again`);
        }
      }
      this.#failures = 0;
    } catch (error) {
      this.#failures += 1;
      this.#writeAfter(Math.min(WRITE_AFTER_MS * 2 ** this.#failures, RETRY_MS_MAX));
      throw error;
    }
  }

  /**
   * One try. What makes it safe: each entry is only replaced as it was read (another tab of this browser has the
   * same entries, and a newer one may just have come from the server), and what is emptied or deleted reaches the
   * server in the push of the snapshot that says the same.
   *
   * @returns {Promise<boolean>} false: an entry has changed meanwhile, and nothing was written
   */
  async #step() {
    await this.#read();
    const taken = this.#pending.length;
    const vector = this.#snapshotVector();
    const changes = this.#ownChanges(vector);
    const others = this.#updates((path) => !path.endsWith(SNAPSHOT) && path !== this.#changes);
    const bytes = others.reduce((sum, one) => sum + this.#missing(one, vector).length, changes.length);
    const items = bytes > CHANGES_BYTES_MAX ? this.#whole() : [this.#item(this.#changes, changes)];
    try {
      await this.#space.putAll(items);
    } catch (error) {
      if (error instanceof LessSyncError && error.code === "changed") {
        return false;
      }
      throw error;
    }
    this.#pending.splice(0, taken);
    for (const [path, bytes] of items) {
      // The document has it already: there is no need to read it again.
      if (bytes !== undefined) {
        this.#known.set(path, { digest: hex(await sha256(bytes)), update: bytes, mtime: this.#now() });
      }
    }
    return true;
  }

  /** The updates of the entries whose path is of the kind. @param {(path: string) => boolean} kind */
  #updates(kind) {
    const found = [...this.#known].filter(([path]) => kind(path)).map(([, { update }]) => update ?? EMPTY);
    return nonempty(found);
  }

  /** How far the snapshots are: kept, because it takes a walk through the whole document. */
  #snapshotVector() {
    const snapshots = [...this.#known].filter(([path, { update }]) => update && path.endsWith(SNAPSHOT));
    const of = snapshots.map(([path, { digest }]) => `${path} ${digest}`).join();
    if (of !== this.#vector.of) {
      const updates = nonempty(snapshots.map(([, { update }]) => update ?? EMPTY));
      const whole = updates.length === 0 ? undefined : this.#Y.mergeUpdates(updates);
      this.#vector = { of, vector: whole && this.#Y.encodeStateVectorFromUpdate(whole) };
    }
    return this.#vector.vector;
  }

  /**
   * What no snapshot has of this device's updates, or of all that it knows, whichever is shorter: merged updates
   * stay one piece for each keystroke, where the document has joined them; but it names all its deletions.
   *
   * @param {Uint8Array | undefined} vector
   */
  #ownChanges(vector) {
    const own = this.#known.get(this.#changes)?.update ?? EMPTY;
    const merged = this.#missing(this.#Y.mergeUpdates([...nonempty([own]), ...this.#pending]), vector);
    const known = this.#Y.encodeStateAsUpdate(this.#ydoc, vector);
    return known.length < merged.length ? known : merged;
  }

  /**
   * What an update says that a state does not have. Deletions stay in it: they are small, and a state vector does
   * not say them.
   *
   * @param {Uint8Array} update @param {Uint8Array | undefined} vector
   */
  #missing(update, vector) {
    return vector === undefined ? update : this.#Y.diffUpdate(update, vector);
  }

  /** @param {string} path @param {Uint8Array | undefined} bytes  undefined: it is deleted */
  #item(path, bytes) {
    return /** @type {const} */ ([path, bytes, this.#known.get(path)?.digest ?? null]);
  }

  /**
   * A snapshot, own changes emptied, and without the entries that say nothing more. What could not be read is no
   * part of the snapshot and stays. Others empty their changes by themselves, unless they are gone: they may be
   * writing now, and an edit would win over the deletion with all that it says.
   */
  #whole() {
    const state = this.#Y.encodeStateAsUpdate(this.#ydoc);
    if (state.length > DOCUMENT_BYTES_MAX) {
      const message = `${this.#folder}: a document of ${state.length} bytes is over ${DOCUMENT_BYTES_MAX}`;
      throw new LessSyncError("document_too_large", message);
    }
    const gone = this.#now() - GONE_AFTER_MS;
    const ours = [this.#snapshot, this.#changes];
    const replaced = [...this.#known]
      .filter(([path, { update }]) => update !== undefined && !ours.includes(path))
      .filter(([path, { mtime }]) => path.endsWith(SNAPSHOT) || mtime < gone)
      .map(([path]) => this.#item(path, undefined));
    return [this.#item(this.#snapshot, state), this.#item(this.#changes, EMPTY), ...replaced];
  }
}

/** @param {Uint8Array[]} updates */
function nonempty(updates) {
  return updates.filter((update) => update.length > 0);
}
