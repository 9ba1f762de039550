/**
 * The keys of one space: ids of its records, their encryption, and the wrapping of their keys.
 *
 *     id     the first 16 bytes of HMAC-SHA256(record id key, space id NUL path), as a UUID
 *     blob   04 | IV 12 | AES-256-GCM ciphertext and tag, associated data = space id NUL record id
 *     dek    epoch u32 big-endian | AES-KW (RFC 3394) of the record's own 32-byte key: 44 bytes
 *
 * A personal space derives the key-encryption key of each epoch from one secret; a shared one has a random
 * key for each epoch, and its record ids derive from the lowest. The whole is told in docs/encryption.md 3.
 */

import { concat, randomBytes, u32be, utf8, uuidText } from "./bytes.js";
import { Bounded } from "./bounded.js";
import { Undecryptable } from "./errors.js";
import { gcmOpen, gcmSeal, hkdf, source, subtle } from "./webcrypto.js";

const VERSION = 4;
const IV_BYTES = 12;
const ENVELOPE_BYTES = 1 + IV_BYTES + 16;
const EPOCH_BYTES = 4;
const KEY_BYTES = 32;
/** A wrapped key of a record or part. */
export const DEK_BYTES = 44;
/** Largest blob: a frame of 4 MiB less room for what is around it. */
export const BLOB_BYTES_MAX = 4 * 1024 * 1024 - 8 * 1024;
export const EPOCH_MAX = 2 ** 31 - 1;
const MAP_BYTES = 96;
const GCM = { name: "AES-GCM", length: 256 };
const KW = { name: "AES-KW", length: 256 };
const HMAC = { name: "HMAC", hash: "SHA-256", length: 256 };

/**
 * @typedef {object} Sealed What the server gets of a record.
 * @property {Uint8Array} blob
 * @property {Uint8Array} dek
 */

/**
 * How many bytes a file of this path may have so that its record fits into one frame.
 *
 * @param {string} path
 * @returns {number}
 */
export function contentBytesMax(path) {
  return BLOB_BYTES_MAX - ENVELOPE_BYTES - MAP_BYTES - utf8(path).length;
}

/** Seals and opens what is in one space. */
export class SpaceKeys {
  /** @type {Map<number, Uint8Array>} */
  #byEpoch = new Map();
  #personal;
  #idSecret;
  #prefix;
  /** @type {Promise<CryptoKey> | undefined} */
  #idKey;
  /** @type {Bounded<number, Promise<CryptoKey>>} A hostile server may name any epoch: a few are kept. */
  #keks = new Bounded(64);

  /**
   * Use `personal` or `shared`.
   *
   * @param {string} space
   * @param {Uint8Array} idSecret what record ids derive from
   * @param {boolean} personal
   */
  constructor(space, idSecret, personal) {
    /** The id of the space, lower case. */
    this.space = space.toLowerCase();
    this.#prefix = utf8(`${this.space}\0`);
    this.#idSecret = idSecret;
    this.#personal = personal;
  }

  /**
   * The keys of a personal space.
   *
   * @param {Uint8Array} secret the 32 bytes of the key text
   * @param {string} space its id
   * @returns {SpaceKeys}
   */
  static personal(secret, space) {
    return new SpaceKeys(space, checked(secret), true);
  }

  /**
   * The keys of a shared space.
   *
   * @param {Map<number, Uint8Array> | Record<string, Uint8Array>} keysByEpoch 32 bytes each, at least one
   * @param {string} space its id
   * @returns {SpaceKeys}
   */
  static shared(keysByEpoch, space) {
    const [lowest] = entries(keysByEpoch).sort(([one], [other]) => one - other);
    if (!lowest) throw new RangeError("no key");
    const made = new SpaceKeys(space, checked(lowest[1]), false);
    made.learn(keysByEpoch);
    return made;
  }

  /**
   * Add keys of further epochs; those already known stay.
   *
   * @param {Map<number, Uint8Array> | Record<string, Uint8Array>} keysByEpoch
   */
  learn(keysByEpoch) {
    for (const [epoch, key] of entries(keysByEpoch)) {
      if (!this.#byEpoch.has(epoch)) this.#byEpoch.set(epoch, checked(key));
    }
  }

  /**
   * Whether records of an epoch can be sealed and opened.
   *
   * @param {number} epoch
   * @returns {boolean}
   */
  knows(epoch) {
    return this.#personal || this.#byEpoch.has(epoch);
  }

  /**
   * The id under which everybody with these keys keeps `path`. Without the keys it tells nothing.
   *
   * @param {string} path in Unicode normal form C
   * @returns {Promise<string>} a UUID
   */
  async recordId(path) {
    this.#idKey ??= hkdf(this.#idSecret, info("record-id"), HMAC, ["sign"]);
    const mac = await subtle().sign("HMAC", await this.#idKey, source(concat(this.#prefix, utf8(path))));
    return uuidText(new Uint8Array(mac, 0, 16));
  }

  /**
   * Encrypt the plaintext of a record (`plaintext.js`) under a fresh key, wrapped for an epoch.
   *
   * @param {string} record its id
   * @param {Uint8Array} plain
   * @param {number} epoch the space's: from 1 to 2^31 - 1
   * @returns {Promise<Sealed>}
   * @throws {Undecryptable} the key of the epoch is not known
   * @throws {RangeError} the blob is more than `BLOB_BYTES_MAX`
   */
  async seal(record, plain, epoch) {
    if (plain.length + ENVELOPE_BYTES > BLOB_BYTES_MAX) throw new RangeError("too large");
    const kek = await this.#kek(epoch);
    const iv = randomBytes(IV_BYTES);
    const key = await freshKey();
    const sealed = gcmSeal(key, iv, plain, this.#associated(record));
    const [ciphertext, dek] = await Promise.all([sealed, wrapped(key, kek, epoch)]);
    return { blob: concat(Uint8Array.of(VERSION), iv, ciphertext), dek };
  }

  /**
   * Decrypt a record.
   *
   * @param {string} record the id it was found under
   * @param {Sealed} sealed
   * @returns {Promise<Uint8Array>} for `decodePlain`
   * @throws {Undecryptable} another key, altered, moved here from elsewhere, or of another version
   */
  async open(record, { blob, dek }) {
    if (blob.length < ENVELOPE_BYTES || blob[0] !== VERSION) {
      throw new Undecryptable("another version");
    }
    const body = 1 + IV_BYTES;
    const key = await this.unwrap(dek);
    return gcmOpen(key, blob.subarray(1, body), blob.subarray(body), this.#associated(record));
  }

  /**
   * A fresh key of a part, wrapped for an epoch.
   *
   * @param {number} epoch
   * @returns {Promise<Uint8Array>} 44 bytes
   * @throws {Undecryptable} the key of the epoch is not known
   */
  async newDek(epoch) {
    return wrapped(await freshKey(), await this.#kek(epoch), epoch);
  }

  /**
   * The same key, wrapped for another epoch.
   *
   * @param {Uint8Array} dek 44 bytes
   * @param {number} epoch
   * @returns {Promise<Uint8Array>}
   * @throws {Undecryptable}
   */
  async rewrap(dek, epoch) {
    return this.wrap(await this.#unwrapped(dek, true), epoch);
  }

  /**
   * Wrap the key of a record or part for an epoch.
   *
   * @param {CryptoKey} key extractable
   * @param {number} epoch
   * @returns {Promise<Uint8Array>} 44 bytes
   * @throws {Undecryptable} the key of the epoch is not known
   */
  async wrap(key, epoch) {
    return wrapped(key, await this.#kek(epoch), epoch);
  }

  /**
   * The key of a record or part.
   *
   * @param {Uint8Array} dek 44 bytes
   * @returns {Promise<CryptoKey>} for AES-GCM; it cannot be read
   * @throws {Undecryptable} wrapped with another key, or no wrapped key
   */
  unwrap(dek) {
    return this.#unwrapped(dek, false);
  }

  /**
   * @param {Uint8Array} dek
   * @param {boolean} extractable
   */
  async #unwrapped(dek, extractable) {
    if (dek.length !== DEK_BYTES) throw new Undecryptable("no key");
    const kek = await this.#kek(epochOf(dek));
    const body = source(dek.subarray(EPOCH_BYTES));
    try {
      return await subtle().unwrapKey("raw", body, kek, "AES-KW", GCM, extractable, ["encrypt", "decrypt"]);
    } catch (cause) {
      throw new Undecryptable("another key", { cause });
    }
  }

  /** @param {string} record */
  #associated(record) {
    return concat(this.#prefix, utf8(record.toLowerCase()));
  }

  /** @param {number} epoch */
  #kek(epoch) {
    const known = this.#keks.get(epoch);
    if (known) return known;
    const secret = this.#personal ? this.#idSecret : this.#byEpoch.get(epoch);
    if (!secret) return Promise.reject(new Undecryptable("no key of this epoch"));
    const what = concat(info("kek\0"), u32be(epoch));
    return this.#keks.set(epoch, hkdf(secret, what, KW, ["wrapKey", "unwrapKey"]));
  }
}

/**
 * The epoch a wrapped key was wrapped for; 0, which is none, if it is cut short: servers take any bytes for one.
 *
 * @param {Uint8Array} dek 44 bytes
 * @returns {number}
 */
export function epochOf(dek) {
  return dek.length < EPOCH_BYTES ? 0 : new DataView(dek.buffer, dek.byteOffset).getUint32(0);
}

/** @returns {Promise<CryptoKey>} */
function freshKey() {
  return subtle().generateKey(GCM, true, ["encrypt", "decrypt"]);
}

/**
 * @param {CryptoKey} key
 * @param {CryptoKey} kek
 * @param {number} epoch
 */
async function wrapped(key, kek, epoch) {
  return concat(u32be(epoch), new Uint8Array(await subtle().wrapKey("raw", key, kek, "AES-KW")));
}

/** @param {string} purpose */
function info(purpose) {
  return utf8(`less-sync/folder/v1/${purpose}`);
}

/** @param {Uint8Array} secret */
function checked(secret) {
  if (secret.length !== KEY_BYTES) throw new RangeError("no key");
  return secret;
}

/**
 * @param {Map<number, Uint8Array> | Record<string, Uint8Array>} keys
 * @returns {[number, Uint8Array][]}
 */
function entries(keys) {
  if (keys instanceof Map) return [...keys];
  return Object.entries(keys).map(([epoch, key]) => [Number(epoch), key]);
}
