/**
 * Contents that are kept apart in the store, in pieces of 1 MiB: those too large for a row.
 *
 * A content is written once and never changed. It has an owner, the row that shows it, from the step on that
 * writes that row; what has none is swept away. Fetched contents can be had again, so only so many stay.
 */

import { concat, hex, randomUuid, sha256 } from "./bytes.js";
import { Refused } from "./errors.js";
import { CHUNK_BYTES as PIECE_BYTES } from "./parts.js";
import { clear, readOne, walk, writeOne } from "./store.js";

/** @typedef {import("./rows.js").Content} Content */

/**
 * What is known of a content that is kept apart.
 *
 * @typedef {object} Owned
 * @property {string} [owner]  id of the row
 * @property {number} [at]  milliseconds since 1970: since when it is written, or when it was used last
 * @property {number} [fetched]  bytes, of one that can be had from the server again
 * @property {number} [pieces]  how many of a fetched one are here, until it is whole
 */

/** What is being written for longer than this was given up. */
const WRITTEN_MS_MAX = 3_600_000;
/** Content of at most so many bytes is in its row. */
export const INLINE_BYTES_MAX = 256 * 1024;
/** Largest content: it is hashed, and given to the app, in one piece, as browsers do. */
export const CONTENT_BYTES_MAX = 1024 * 1024 * 1024;

export class Contents {
  #store;
  #keys;
  #now;

  /**
   * @param {import("./store.js").Store} store
   * @param {import("./rows.js").Keys} keys
   * @param {() => number} [now]  milliseconds since 1970
   */
  constructor(store, keys, now = Date.now) {
    this.#store = store;
    this.#keys = keys;
    this.#now = now;
  }

  /**
   * Keep a content, in its row or apart. The next step that writes its row makes it stay.
   *
   * @param {Uint8Array | Blob} source
   * @param {number} mtime
   * @returns {Promise<Content>}
   * @throws {Refused} `too_large`
   * @throws {import("./errors.js").QuotaExceeded}
   */
  async keep(source, mtime) {
    const size = source instanceof Blob ? source.size : source.length;
    if (size > CONTENT_BYTES_MAX) throw new Refused("too_large", `too large: ${size} bytes`);
    // A copy: the app may go on writing into its own.
    const bytes = source instanceof Blob ? new Uint8Array(await source.arrayBuffer()) : source.slice();
    const digest = hex(await sha256(bytes));
    if (size <= INLINE_BYTES_MAX) return { digest, size, mtime, bytes };
    const file = randomUuid();
    await writeOne(this.#store, this.#keys.file(file), { at: this.#now() });
    try {
      for (let at = 0, index = 0; at < size; at += PIECE_BYTES, index++) {
        await this.put(file, index, bytes.slice(at, at + PIECE_BYTES));
      }
      return { digest, size, mtime, file };
    } catch (error) {
      await this.drop(file);
      throw error;
    }
  }

  /**
   * Write one piece.
   *
   * @param {string} file
   * @param {number} index
   * @param {Uint8Array} piece
   * @param {Owned} [owned]  what is to be known of the content from then on
   */
  async put(file, index, piece, owned) {
    await this.#store.update([], (_, write) => {
      write(this.#keys.piece(file, index), piece);
      if (owned) {
        write(this.#keys.file(file), owned);
      }
    });
  }

  /** @param {string} file @returns {Promise<Owned | undefined>} */
  async owned(file) {
    return readOne(this.#store, this.#keys.file(file));
  }

  /**
   * Walk the bytes of a content from one place to another.
   *
   * @param {Content} content
   * @param {number} [start]  a multiple of 1 MiB
   * @param {number} [end]
   * @returns {AsyncGenerator<Uint8Array, void, void>}
   * @throws {ContentMoved}
   */
  async *pieces({ bytes, file, size }, start = 0, end = size) {
    if (bytes) {
      yield bytes.subarray(start, end);
      return;
    }
    for (let at = start; at < end; at += PIECE_BYTES) {
      const piece = file && (await readOne(this.#store, this.#keys.piece(file, at / PIECE_BYTES)));
      if (!piece) {
        throw new ContentMoved();
      }
      yield piece.subarray(0, end - at);
    }
  }

  /**
   * @param {Content} content
   * @returns {Promise<Uint8Array>}
   * @throws {ContentMoved}
   */
  async bytes(content) {
    if (content.bytes) {
      return content.bytes;
    }
    const pieces = [];
    for await (const piece of this.pieces(content)) {
      pieces.push(piece);
    }
    return concat(...pieces);
  }

  /**
   * A content is on the server as well: when room is wanted it may go.
   *
   * @param {string} owner  id of its row
   * @param {string} file
   * @param {number} size  bytes
   */
  async mayGo(owner, file, size) {
    await this.#store.update([this.#keys.file(file)], ([owned], write) => {
      if (owned?.owner === owner) write(this.#keys.file(file), { owner, at: this.#now(), fetched: size });
    });
  }

  /** Somebody looks at a content. @param {string} file */
  async used(file) {
    await this.#store.update([this.#keys.file(file)], ([owned], write) => {
      if (owned?.fetched !== undefined) write(this.#keys.file(file), { ...owned, at: this.#now() });
    });
  }

  /**
   * What may go, the least recently used first, beyond so many bytes.
   *
   * @param {number} bytesMax
   * @returns {Promise<{ file: string, owner: string }[]>}
   */
  async excess(bytesMax) {
    const found = [];
    const prefix = this.#keys.file("");
    for await (const [key, { owner, at, fetched, pieces }] of walk(this.#store, prefix)) {
      if (fetched !== undefined && pieces === undefined) {
        found.push({ file: key.slice(prefix.length), owner, at, fetched });
      }
    }
    let bytes = found.reduce((sum, one) => sum + one.fetched, 0);
    found.sort((one, other) => one.at - other.at);
    return found.filter((one) => {
      const over = bytes > bytesMax;
      bytes -= over ? one.fetched : 0;
      return over;
    });
  }

  /**
   * Remove a content. What a kill or a full store leaves is left to `sweep`: who asks has done something else, and
   * that is done.
   *
   * @param {string} file
   */
  async drop(file) {
    try {
      await clear(this.#store, this.#keys.piece(file));
      await writeOne(this.#store, this.#keys.file(file), undefined);
    } catch {}
  }

  /** Remove what no row shows. */
  async sweep() {
    for await (const [key, found] of walk(this.#store, this.#keys.file(""))) {
      const file = key.slice(this.#keys.file("").length);
      const { owner, at = 0 } = /** @type {Owned} */ (found);
      if (owner === undefined ? this.#now() - at > WRITTEN_MS_MAX : await this.#isOrphan(file, owner)) {
        await this.drop(file);
      }
    }
  }

  /**
   * Whether no row shows a content. It is given up in the step that finds so: nothing can take it over then.
   *
   * @param {string} file
   * @param {string} owner
   * @returns {Promise<boolean>}
   */
  #isOrphan(file, owner) {
    const keys = [this.#keys.file(file), this.#keys.row(owner)];
    return this.#store.update(keys, ([owned, row], write) => {
      const shown = owned?.pieces === undefined ? row?.local?.file === file : row?.content === file;
      if (owned?.owner !== owner || shown) {
        return false;
      }
      write(this.#keys.file(file), { at: 0 });
      return true;
    });
  }
}

/** A content was replaced or removed while it was read. */
export class ContentMoved extends Error {
  constructor() {
    super("the content was replaced");
  }
}
