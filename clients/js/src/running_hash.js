/**
 * SHA-256 (FIPS 180-4) of bytes that come piece by piece. WebCrypto takes them only in one piece, which a large
 * content should not have to be.
 */

const BLOCK_BYTES = 64;
const ROUNDS = 64;
const START = Uint32Array.of(
  ...[0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19],
);
const CONSTANTS = cubeRoots();

/** The first 32 bits of the fractions of the cube roots of the first 64 primes. */
function cubeRoots() {
  /** @type {number[]} */
  const primes = [];
  for (let number = 2; primes.length < ROUNDS; number++) {
    if (primes.every((prime) => number % prime !== 0)) primes.push(number);
  }
  return Uint32Array.from(primes, (prime) => (Math.cbrt(prime) % 1) * 2 ** 32);
}

/** See the module. */
export class RunningHash {
  #state = START.slice();
  #words = new Uint32Array(ROUNDS);
  #rest = new Uint8Array(BLOCK_BYTES);
  #filled = 0;
  #bytes = 0;

  /**
   * Take in the next bytes.
   *
   * @param {Uint8Array} bytes
   * @returns {this}
   */
  update(bytes) {
    this.#bytes += bytes.length;
    let at = 0;
    if (this.#filled > 0) {
      at = Math.min(BLOCK_BYTES - this.#filled, bytes.length);
      this.#rest.set(bytes.subarray(0, at), this.#filled);
      this.#filled += at;
      if (this.#filled < BLOCK_BYTES) return this;
      this.#block(new DataView(this.#rest.buffer), 0);
      this.#filled = 0;
    }
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    for (; at + BLOCK_BYTES <= bytes.length; at += BLOCK_BYTES) this.#block(view, at);
    this.#rest.set(bytes.subarray(at));
    this.#filled = bytes.length - at;
    return this;
  }

  /**
   * The digest of everything so far; nothing may be taken in after it.
   *
   * @returns {Uint8Array} 32 bytes
   */
  digest() {
    const bits = this.#bytes * 8;
    const padding = new Uint8Array(((119 - this.#filled) % BLOCK_BYTES) + 9);
    padding[0] = 0x80;
    const view = new DataView(padding.buffer);
    view.setUint32(padding.length - 8, Math.floor(bits / 2 ** 32));
    view.setUint32(padding.length - 4, bits >>> 0);
    this.update(padding);
    const digest = new DataView(new ArrayBuffer(32));
    this.#state.forEach((word, index) => digest.setUint32(4 * index, word));
    return new Uint8Array(digest.buffer);
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
      words[round] = Number(words[round - 16]) + low + Number(words[round - 7]) + high;
    }
    this.#mix(words);
  }

  /** @param {Uint32Array} words */
  #mix(words) {
    const state = this.#state;
    let a = Number(state[0]);
    let b = Number(state[1]);
    let c = Number(state[2]);
    let d = Number(state[3]);
    let e = Number(state[4]);
    let f = Number(state[5]);
    let g = Number(state[6]);
    let h = Number(state[7]);
    for (let round = 0; round < ROUNDS; round++) {
      const high = turned(e, 6) ^ turned(e, 11) ^ turned(e, 25);
      const one = (h + high + ((e & f) ^ (~e & g)) + Number(CONSTANTS[round]) + Number(words[round])) | 0;
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
    const added = [a, b, c, d, e, f, g, h];
    for (let index = 0; index < state.length; index++) {
      state[index] = Number(state[index]) + Number(added[index]);
    }
  }
}

/**
 * @param {number} word
 * @param {number} by
 */
function turned(word, by) {
  return (word >>> by) | (word << (32 - by));
}
