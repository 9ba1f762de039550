/**
 * SHA-256 (FIPS 180-4) of bytes that come piece by piece. WebCrypto takes them only in one piece, which a large
 * content should not have to be.
 */

import { concat, u32be } from "./bytes.js";

const BLOCK_BYTES = 64;
const ROUNDS = 64;
const PRIMES = primes();
/** The first 32 bits of the fractions of the square roots of the first 8 primes, and of the cube roots of all. */
const START = Uint32Array.from(PRIMES.slice(0, 8), (prime) => (Math.sqrt(prime) % 1) * 2 ** 32);
const CONSTANTS = Uint32Array.from(PRIMES, (prime) => (Math.cbrt(prime) % 1) * 2 ** 32);

/** The first 64 primes. */
function primes() {
  /** @type {number[]} */
  const found = [];
  for (let number = 2; found.length < ROUNDS; number++) {
    if (found.every((prime) => number % prime)) found.push(number);
  }
  return found;
}

/** See the module. */
export class RunningHash {
  #state = START.slice();
  #words = new Uint32Array(ROUNDS);
  #rest = new Uint8Array();
  #bytes = 0;

  /**
   * Take in the next bytes.
   *
   * @param {Uint8Array} bytes
   * @returns {this}
   */
  update(bytes) {
    this.#bytes += bytes.length;
    const all = this.#rest.length ? concat(this.#rest, bytes) : bytes;
    const view = new DataView(all.buffer, all.byteOffset);
    let at = 0;
    for (; at + BLOCK_BYTES <= all.length; at += BLOCK_BYTES) this.#block(view, at);
    this.#rest = all.slice(at);
    return this;
  }

  /**
   * The digest of everything so far; nothing may be taken in after it.
   *
   * @returns {Uint8Array} 32 bytes
   */
  digest() {
    const padding = new Uint8Array(((119 - this.#rest.length) % BLOCK_BYTES) + 9);
    padding[0] = 0x80;
    new DataView(padding.buffer).setBigUint64(padding.length - 8, BigInt(this.#bytes * 8));
    this.update(padding);
    return concat(...Array.from(this.#state, u32be));
  }

  /**
   * @param {DataView} view
   * @param {number} at
   */
  #block(view, at) {
    const words = this.#words;
    for (let round = 0; round < 16; round++) words[round] = view.getUint32(at + 4 * round);
    for (let round = 16; round < ROUNDS; round++) {
      const x = /** @type {number} */ (words[round - 15]);
      const y = /** @type {number} */ (words[round - 2]);
      const low = turned(x, 7) ^ turned(x, 18) ^ (x >>> 3);
      const high = turned(y, 17) ^ turned(y, 19) ^ (y >>> 10);
      words[round] = /** @type {any} */ (words[round - 16]) + low + words[round - 7] + high;
    }
    this.#mix(words);
  }

  /** @param {Uint32Array} words */
  #mix(words) {
    const state = this.#state;
    let [a, b, c, d, e, f, g, h] = /** @type {any} */ (state);
    for (let round = 0; round < ROUNDS; round++) {
      const high = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
      const one = (h + high + ((e & f) ^ (~e & g)) + CONSTANTS[round] + words[round]) | 0;
      const low = turned(a, 2) ^ turned(a, 13) ^ turned(a, 22);
      h = g;
      g = f;
      f = e;
      e = (d + one) | 0;
      d = c;
      c = b;
      b = a;
      a = (one + low + ((b & c) ^ (b & d) ^ (c & d))) | 0;
    }
    [a, b, c, d, e, f, g, h].forEach((word, index) => (state[index] += word));
  }
}

/**
 * @param {number} word
 * @param {number} by
 */
function turned(word, by) {
  return (word >>> by) | (word << (32 - by));
}
