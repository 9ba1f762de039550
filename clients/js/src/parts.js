/**
 * One part file: a piece of a large content, encrypted in chunks that can be neither moved nor left out.
 *
 *     05 | nonce 7 | chunk | chunk | ... | chunk
 *
 * Each chunk is AES-256-GCM over 1 MiB of plaintext, the last one over the rest (of an empty part: over
 * nothing), with 16 bytes of tag. Nonce of chunk `i`: the 7 bytes, `i` as 4 bytes big-endian, and 01 for the
 * last chunk, else 00. This is the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizar (2015). No
 * two plaintexts may ever be encrypted with one key and nonce: who seals again compares the plaintext first.
 */

import { concat, u32be, utf8 } from "./bytes.js";
import { Undecryptable } from "./errors.js";
import { gcmOpen, gcmSeal } from "./webcrypto.js";

/** Plaintext of every chunk but the last. */
export const CHUNK_BYTES = 1024 * 1024;
export const NONCE_BYTES = 7;
export const HEADER_BYTES = 1 + NONCE_BYTES;
const VERSION = 5;
const TAG_BYTES = 16;

/**
 * @typedef {object} PartPlace Where a part belongs; it does not decrypt anywhere else.
 * @property {string} space
 * @property {string} content id of the content record
 * @property {string} part
 */

/**
 * How many chunks a part with so much plaintext has.
 *
 * @param {number} size bytes
 * @returns {number}
 */
export function chunkCount(size) {
  return Math.max(1, Math.ceil(size / CHUNK_BYTES));
}

/**
 * Bytes of the part file for so much plaintext.
 *
 * @param {number} size bytes
 * @returns {number}
 */
export function sealedSize(size) {
  return HEADER_BYTES + size + TAG_BYTES * chunkCount(size);
}

/** The chunks of one part. Whoever takes pieces of `plainSize` and a nonce of 7 bytes gives what it wants. */
class PartCipher {
  #key;
  #nonce;
  #associated;
  #size;

  /**
   * @param {CryptoKey} key of `SpaceKeys.unwrap`
   * @param {Uint8Array} nonce 7 bytes
   * @param {PartPlace} place
   * @param {number} size bytes of plaintext in all
   */
  constructor(key, nonce, { space, content, part }, size) {
    this.#key = key;
    this.#nonce = nonce;
    this.#associated = utf8([space, content, part].join("\0").toLowerCase());
    this.#size = size;
    /** How many there are. */
    this.chunks = chunkCount(size);
    /** The first bytes of the part file. */
    this.header = concat(Uint8Array.of(VERSION), nonce);
  }

  /**
   * Bytes of plaintext of one chunk.
   *
   * @param {number} index
   * @returns {number}
   */
  plainSize(index) {
    return Math.min(CHUNK_BYTES, this.#size - index * CHUNK_BYTES);
  }

  /**
   * @param {number} index
   * @param {Uint8Array} plain
   * @returns {Promise<Uint8Array>}
   */
  seal(index, plain) {
    return gcmSeal(this.#key, this.#nonceAt(index), plain, this.#associated);
  }

  /**
   * @param {number} index
   * @param {Uint8Array} sealed
   * @returns {Promise<Uint8Array>}
   * @throws {Undecryptable} it is not the chunk that belongs there
   */
  open(index, sealed) {
    return gcmOpen(this.#key, this.#nonceAt(index), sealed, this.#associated);
  }

  /** @param {number} index */
  #nonceAt(index) {
    return concat(this.#nonce, u32be(index), Uint8Array.of(index === this.chunks - 1 ? 1 : 0));
  }
}

/**
 * The part file of a plaintext, piece by piece; one chunk is in memory, and what `plain` gives at a time.
 *
 * @param {CryptoKey} key
 * @param {Uint8Array} nonce
 * @param {PartPlace} place
 * @param {number} size bytes that `plain` has in all
 * @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} plain in pieces of any size
 * @returns {AsyncGenerator<Uint8Array, void>} the header, then a chunk at a time
 * @throws {RangeError} `plain` is longer or shorter
 */
export async function* sealPart(key, nonce, place, size, plain) {
  const cipher = new PartCipher(key, nonce, place, size);
  const pieces = new Pieces(plain);
  try {
    yield cipher.header;
    for (let index = 0; index < cipher.chunks; index++) {
      const chunk = await pieces.take(cipher.plainSize(index));
      if (!chunk) throw new RangeError("too short");
      yield await cipher.seal(index, chunk);
    }
    if (!(await pieces.ended())) throw new RangeError("too long");
  } finally {
    await pieces.close();
  }
}

/**
 * The plaintext of a part file, a chunk at a time. A chunk that is given out is right; only at the end it is
 * known that none is missing.
 *
 * @param {CryptoKey} key
 * @param {PartPlace} place
 * @param {number} size bytes of plaintext, as the content record has it
 * @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} sealed in pieces of any size
 * @returns {AsyncGenerator<Uint8Array, void>}
 * @throws {Undecryptable}
 */
export async function* openPart(key, place, size, sealed) {
  const pieces = new Pieces(sealed);
  try {
    const header = await pieces.take(HEADER_BYTES);
    if (!header || header[0] !== VERSION) throw new Undecryptable("another version");
    const cipher = new PartCipher(key, header.slice(1), place, size);
    for (let index = 0; index < cipher.chunks; index++) {
      const chunk = await pieces.take(cipher.plainSize(index) + TAG_BYTES);
      if (!chunk) throw new Undecryptable("too short");
      yield await cipher.open(index, chunk);
    }
    if (!(await pieces.ended())) throw new Undecryptable("too long");
  } finally {
    await pieces.close();
  }
}

/** Bytes that come in pieces of any size, taken in pieces of a wanted one. */
class Pieces {
  #source;
  /** What came and was not taken yet. @type {Uint8Array} */
  #rest = new Uint8Array();

  /** @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} source */
  constructor(source) {
    const asynchronous = Symbol.asyncIterator in source;
    this.#source = asynchronous ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  /**
   * Exactly so many bytes; undefined when there are fewer.
   *
   * @param {number} size
   * @returns {Promise<Uint8Array | undefined>}
   */
  async take(size) {
    const whole = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      if (this.#rest.length === 0 && !(await this.#more())) return undefined;
      const piece = this.#rest.subarray(0, size - at);
      whole.set(piece, at);
      at += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return whole;
  }

  /** @returns {Promise<boolean>} whether nothing is left */
  async ended() {
    return this.#rest.length === 0 && !(await this.#more());
  }

  /** Let go of the source: it may hold a connection or an open file. */
  async close() {
    await this.#source.return?.();
  }

  /** Wait for a piece that is not empty. */
  async #more() {
    for (;;) {
      const { done, value } = await this.#source.next();
      if (done) return false;
      this.#rest = value;
      if (value.length > 0) return true;
    }
  }
}
