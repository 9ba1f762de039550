/** Where tokens come from, and the proof of the device that goes with each. */

import { within } from "./clock.js";
import { TokenUnavailable } from "./errors.js";
import { didProof } from "./proof.js";

const TOKEN_CHARACTERS_MAX = 16_384;

/**
 * A token, or what gives one: it is asked for each connection, so give one that renews. It is told the DID of
 * this device, which some issuers put into the token; "" without a device.
 *
 * @typedef {string | ((did: string) => string | Promise<string>)} TokenSource
 */

/**
 * @typedef {object} Credentials
 * @property {string} token
 * @property {string} [proof] that this device has the key of its DID (docs/tokens.md); none without a device.
 */

/** The tokens of a source. Whoever asks at the same time shares one. */
export class Tokens {
  #source;
  #device;
  #clock;
  #limitMs;
  #kept = "";
  /** @type {Promise<string> | undefined} */
  #asking;

  /**
   * @param {TokenSource} source
   * @param {import("./keys.js").DeviceKey | undefined} device
   * @param {import("./clock.js").Clock} clock
   * @param {number} limitMs for the source.
   */
  constructor(source, device, clock, limitMs) {
    this.#source = source;
    this.#device = device;
    this.#clock = clock;
    this.#limitMs = limitMs;
  }

  /**
   * A new token of the source.
   *
   * @returns {Promise<Credentials>}
   * @throws {TokenUnavailable}
   */
  async fresh() {
    return this.#proven(await this.#asked());
  }

  /**
   * The last token, or a new one if there is none or it is the one that was refused.
   *
   * @param {string} [refused]
   * @returns {Promise<Credentials>}
   * @throws {TokenUnavailable}
   */
  async kept(refused = "") {
    const kept = this.#kept;
    return this.#proven(kept === "" || kept === refused ? await this.#asked() : kept);
  }

  /** @returns {Promise<string>} */
  #asked() {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  /** @returns {Promise<string>} */
  async #ask() {
    const source = this.#source;
    const given = (async () => (typeof source === "function" ? source(this.#device?.did ?? "") : source))();
    const late = () => new TokenUnavailable("the token source failed");
    let token;
    try {
      token = await within(this.#clock, this.#limitMs, given, late);
    } catch (error) {
      if (error instanceof TokenUnavailable) throw error;
      // Its text may quote the token, so it is no part of ours.
      throw new TokenUnavailable("the token source failed", { cause: error });
    }
    if (typeof token !== "string" || token.length > TOKEN_CHARACTERS_MAX || !/^[\x21-\x7e]+$/.test(token)) {
      throw new TokenUnavailable("the token source failed");
    }
    this.#kept = token;
    return token;
  }

  /**
   * @param {string} token
   * @returns {Promise<Credentials>}
   */
  async #proven(token) {
    if (!this.#device) return { token };
    try {
      return { token, proof: await didProof(this.#device, token) };
    } catch (error) {
      throw new TokenUnavailable("the device failed", { cause: error });
    }
  }
}
