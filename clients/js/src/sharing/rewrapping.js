/**
 * The longest step of a rotation: every wrapped key of a space, of records and of files, is wrapped anew.
 *
 * What has the epoch already is left alone, so a rewrap that was interrupted goes on where it stopped. The
 * contents stay as they are.
 *
 * @module
 */
import { DEKS_PER_REWRAP } from "../calls.js";
import { Refused, RequestFailed, Undecryptable } from "../errors.js";
import { epochOf } from "../space_keys.js";
import { spaceKeysOf } from "./state.js";

/** @typedef {import("./state.js").SharedState} SharedState */

/** Keys that are wrapped at the same time: more take longer, and memory. */
const AT_ONCE_MAX = 200;

/** How often the keys of files are looked at in one go. */
const LISTINGS_MAX = 12;

/** There are files under former keys, and the token may not touch their keys. Everybody reads on. */
export class FilesLeft extends Refused {
  /**
   * @param {number} epoch
   * @param {number} files
   */
  constructor(epoch, files) {
    super("files_left", `${files} files have a former key: rotate with the scope \`files\``);
    this.epoch = epoch;
    this.files = files;
  }
}

/** @typedef {{id: string, dek: Uint8Array}} Listed */

/** Wraps the keys of one space for one epoch. */
export class Rewrapper {
  #client;
  #state;
  #epoch;
  #step;
  #undecryptable;
  #keys;

  /**
   * @param {object} options
   * @param {import("../sync_client.js").SyncClient} options.client
   * @param {SharedState} options.state
   * @param {number} options.epoch
   * @param {(name: string) => void | Promise<void>} options.step Told before each change of the server.
   * @param {Set<string>} options.undecryptable Takes the ids of whatever nobody here can open.
   */
  constructor({ client, state, epoch, step, undecryptable }) {
    this.#client = client;
    this.#state = state;
    this.#epoch = epoch;
    this.#step = step;
    this.#undecryptable = undecryptable;
    this.#keys = spaceKeysOf(state);
  }

  /**
   * Rewrap all that can be.
   *
   * @throws {FilesLeft} Records are done, files are not.
   * @throws {RequestFailed} `conflict`: something was written since it was listed, or the epoch is over;
   *   `bad_request`: a file was deleted since. Look again.
   */
  async run() {
    const { space, ucan } = this.#state;
    const records = this.#client.deksGet(space, { ucan });
    await this.#rewrap(records, (deks) => this.#client.deksRewrap(space, deks, { ucan }));
    try {
      // The server takes files under older keys also now, so what has come meanwhile is looked at too.
      for (let listing = 0; listing < LISTINGS_MAX; listing++) {
        const files = this.#client.fileDeksGet(space, { ucan });
        if (!(await this.#rewrap(files, (deks) => this.#client.fileDeksRewrap(space, deks, { ucan })))) break;
      }
    } catch (error) {
      if (!lacksScope(error)) throw error;
      const left = await this.#filesLeft();
      if (left) throw new FilesLeft(this.#epoch, left);
    }
  }

  /**
   * @param {AsyncIterable<Listed>} listed
   * @param {(deks: Listed[]) => Promise<unknown>} send
   * @returns {Promise<boolean>} Whether there was anything to do.
   */
  async #rewrap(listed, send) {
    /** @type {Listed[]} */
    const stale = [];
    for await (const { id, dek } of listed) if (epochOf(dek) !== this.#epoch) stale.push({ id, dek });
    let sent = false;
    for (let start = 0; start < stale.length; start += DEKS_PER_REWRAP) {
      const fresh = await this.#rewrapped(stale.slice(start, start + DEKS_PER_REWRAP));
      if (!fresh.length) continue;
      await this.#step("rewrap");
      await send(fresh);
      sent = true;
    }
    return sent;
  }

  /**
   * @param {Listed[]} batch
   * @returns {Promise<Listed[]>}
   */
  async #rewrapped(batch) {
    /** @type {Listed[]} */
    const fresh = [];
    for (let start = 0; start < batch.length; start += AT_ONCE_MAX) {
      const some = batch.slice(start, start + AT_ONCE_MAX);
      const wrapped = await Promise.all(some.map((one) => this.#wrapped(one)));
      fresh.push(...wrapped.filter((one) => one !== null));
    }
    return fresh;
  }

  /**
   * @param {Listed} listed
   * @returns {Promise<Listed | null>}
   */
  async #wrapped({ id, dek }) {
    try {
      return { id, dek: await this.#keys.rewrap(dek, this.#epoch) };
    } catch (error) {
      if (!(error instanceof Undecryptable)) throw error;
      this.#undecryptable.add(id);
      return null;
    }
  }

  /** Count the files under other keys, by a pull of everything: that takes no scope `files`. */
  async #filesLeft() {
    const { space, ucan } = this.#state;
    let left = 0;
    for await (const event of this.#client.pull(space, 0, { ucan })) {
      if (event.kind === "file" && event.dek && epochOf(event.dek) !== this.#epoch) left += 1;
    }
    return left;
  }
}

/** @param {unknown} error */
function lacksScope(error) {
  return error instanceof RequestFailed && error.code === "forbidden" && error.detail.includes("scope");
}
