/** Chunks of one request on their way from the connection to whoever asked for them. */

import { rest } from "./clock.js";
import { StreamOverrun } from "./errors.js";

/**
 * What comes for a request.
 *
 * @typedef {{type: 1, result: unknown, error?: {code: string, message: string}}} Response
 * @typedef {{type: 3, name: string, data: unknown}} Chunk
 */

/**
 * Bounded by count and bytes. A WebSocket of the platform cannot be told to read no further, so a stream that
 * is taken too slowly fails, once what it has is taken, instead of growing.
 */
export class Chunks {
  /** @type {{frame: Chunk | Response, sizeBytes: number}[]} */
  #waiting = [];
  #taken = 0;
  #bytes = 0;
  /** @type {import("./errors.js").LessSyncError | undefined} */
  #error;
  #wake = () => {};

  /** @param {import("./limits.js").Limits} limits */
  constructor(limits) {
    this.limits = limits;
  }

  /**
   * Add what came.
   *
   * @param {Chunk | Response} frame
   * @param {number} sizeBytes
   */
  take(frame, sizeBytes) {
    if (this.#error) return;
    const { chunksWaiting, chunkBytesWaiting } = this.limits;
    const count = this.#waiting.length - this.#taken;
    if (count >= chunksWaiting || (count > 0 && this.#bytes + sizeBytes > chunkBytesWaiting)) {
      this.fail(new StreamOverrun());
      return;
    }
    this.#waiting.push({ frame, sizeBytes });
    this.#bytes += sizeBytes;
    this.#wake();
  }

  /**
   * Nothing more will come.
   *
   * @param {import("./errors.js").LessSyncError} error
   */
  fail(error) {
    this.#error ??= error;
    this.#wake();
  }

  /**
   * The next one; undefined: it has not come yet.
   *
   * @throws what ended the stream, once everything before it was taken.
   */
  next() {
    const first = this.#waiting[this.#taken];
    if (!first) {
      if (this.#error) throw this.#error;
      return undefined;
    }
    this.#bytes -= first.sizeBytes;
    this.#taken += 1;
    // Taking from the front of a long array moves all the rest, so it is done seldom.
    if (this.#taken >= 1024 || this.#taken === this.#waiting.length) {
      this.#waiting.splice(0, this.#taken);
      this.#taken = 0;
    }
    return first.frame;
  }

  /**
   * Wait until something came or the stream ended, but not longer than this.
   *
   * @param {import("./clock.js").Clock} clock
   * @param {number} ms
   * @returns {Promise<void>}
   */
  changed(clock, ms) {
    return rest(clock, ms, (wake) => (this.#wake = wake));
  }
}
