/** The device's key: one P-256 key that signs (ECDSA) and agrees (ECDH), and the DID it proves. */

import { b64url, concat, fromB64url } from "./bytes.js";
import { encodeDid } from "./did.js";
import { LessSyncError } from "./errors.js";
import { source, subtle } from "./webcrypto.js";

const ECDSA = { name: "ECDSA", namedCurve: "P-256" };
const ECDH = { name: "ECDH", namedCurve: "P-256" };
const SIGNATURE = { name: "ECDSA", hash: "SHA-256" };
const POINT_BYTES = 65;

/**
 * @typedef {object} PrivateJwk A P-256 private key (RFC 7517); more members are passed over.
 * @property {string} [kty]
 * @property {string} [crv]
 * @property {string} [x]
 * @property {string} [y]
 * @property {string} [d]
 */

/**
 * @typedef {object} StoredDeviceKey What IndexedDB keeps: the two CryptoKeys cannot be read, only used.
 * @property {1} v
 * @property {Uint8Array} point 65 bytes
 * @property {CryptoKey} sign
 * @property {CryptoKey} agree
 */

/**
 * The key of one device. Its private number is readable only while the key is made, because browsers use one
 * CryptoKey for signing or for agreeing but not for both; nothing of the page can read it afterwards.
 */
export class DeviceKey {
  #sign;
  #agree;
  /** @type {PrivateJwk | undefined} */
  #jwk;

  /**
   * Use `generate`, `fromJwk` or `fromStored`.
   *
   * @param {Uint8Array} point
   * @param {CryptoKey} sign
   * @param {CryptoKey} agree
   * @param {PrivateJwk} [jwk] kept only if it may be exported
   */
  constructor(point, sign, agree, jwk) {
    /** The uncompressed public point, 65 bytes. */
    this.point = point;
    /** The `did:key`. */
    this.did = encodeDid(point);
    this.#sign = sign;
    this.#agree = agree;
    this.#jwk = jwk;
  }

  /**
   * A new key.
   *
   * @param {{extractable?: boolean}} [options] `extractable`: `toJwk` works, for tests and back-ups
   * @returns {Promise<DeviceKey>}
   */
  static async generate(options) {
    const pair = await subtle().generateKey(ECDSA, true, ["sign", "verify"]);
    return DeviceKey.fromJwk(await subtle().exportKey("jwk", pair.privateKey), options);
  }

  /**
   * A key from elsewhere.
   *
   * @param {PrivateJwk} jwk
   * @param {{extractable?: boolean}} [options]
   * @returns {Promise<DeviceKey>}
   * @throws {LessSyncError} no private P-256 key
   */
  static async fromJwk({ kty, crv, x, y, d }, { extractable = false } = {}) {
    try {
      const jwk = { kty, crv, x, y, d };
      const point = concat(Uint8Array.of(4), fromB64url(x ?? ""), fromB64url(y ?? ""));
      if (point.length !== POINT_BYTES) throw new RangeError("no point");
      const sign = await subtle().importKey("jwk", jwk, ECDSA, false, ["sign"]);
      const agree = await subtle().importKey("jwk", jwk, ECDH, false, ["deriveBits"]);
      return new DeviceKey(point, sign, agree, extractable ? jwk : undefined);
    } catch (cause) {
      throw new LessSyncError("invalid_key", "no private P-256 key", { cause });
    }
  }

  /**
   * The key that `stored` gave.
   *
   * @param {StoredDeviceKey} stored
   * @returns {DeviceKey}
   */
  static fromStored({ point, sign, agree }) {
    return new DeviceKey(new Uint8Array(point), sign, agree);
  }

  /**
   * What can be kept in IndexedDB (structured clone).
   *
   * @returns {StoredDeviceKey}
   */
  stored() {
    return { v: 1, point: this.point, sign: this.#sign, agree: this.#agree };
  }

  /**
   * @returns {PrivateJwk}
   * @throws {LessSyncError} the key was not made to be exported
   */
  toJwk() {
    if (!this.#jwk) throw new LessSyncError("not_extractable", "not extractable");
    return { ...this.#jwk };
  }

  /**
   * Sign with ES256.
   *
   * @param {Uint8Array} bytes
   * @returns {Promise<Uint8Array>} 64 bytes: r and s
   */
  async sign(bytes) {
    return new Uint8Array(await subtle().sign(SIGNATURE, this.#sign, source(bytes)));
  }

  /**
   * The ECDH secret with another key.
   *
   * @param {Uint8Array} point 65 bytes uncompressed
   * @returns {Promise<Uint8Array>} 32 bytes
   */
  async agree(point) {
    const other = await subtle().importKey("raw", source(point), ECDH, false, []);
    return new Uint8Array(await subtle().deriveBits({ name: "ECDH", public: other }, this.#agree, 256));
  }
}

/**
 * The point and the secret with `point` of a key that is used once: the sender's side of ECDH-ES.
 *
 * @param {Uint8Array} point 65 bytes uncompressed
 * @returns {Promise<{x: string, y: string, secret: Uint8Array}>}
 */
export async function agreeOnce(point) {
  const other = await subtle().importKey("raw", source(point), ECDH, false, []);
  const pair = await subtle().generateKey(ECDH, false, ["deriveBits"]);
  const own = new Uint8Array(await subtle().exportKey("raw", pair.publicKey));
  const secret = await subtle().deriveBits({ name: "ECDH", public: other }, pair.privateKey, 256);
  return { x: b64url(own.subarray(1, 33)), y: b64url(own.subarray(33)), secret: new Uint8Array(secret) };
}

/**
 * A function that verifies ES256 signatures of one key.
 *
 * @param {Uint8Array} point 65 bytes uncompressed
 * @returns {Promise<(signature: Uint8Array, bytes: Uint8Array) => Promise<boolean>>}
 */
export async function verifier(point) {
  const key = await subtle().importKey("raw", source(point), ECDSA, false, ["verify"]);
  return (signature, bytes) => subtle().verify(SIGNATURE, key, source(signature), source(bytes));
}
