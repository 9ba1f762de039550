/** What WebCrypto has in every browser, in the few forms that are used here, and its errors as ours. */

import { LessSyncError, Undecryptable } from "./errors.js";

/** @typedef {BufferSource & Uint8Array} Source */

/**
 * @returns {SubtleCrypto}
 * @throws {LessSyncError} the page is not from https or localhost
 */
export function subtle() {
  const found = globalThis.crypto?.subtle;
  if (!found) throw new LessSyncError("insecure_page", "only https and localhost can encrypt");
  return found;
}

/** A view as WebCrypto's types want it; nothing here is ever shared memory. @param {Uint8Array} bytes */
export function source(bytes) {
  return /** @type {Source} */ (bytes);
}

/**
 * @param {Uint8Array} raw 32 bytes
 * @returns {Promise<CryptoKey>} an AES-256-GCM key
 */
export function gcmKey(raw) {
  return subtle().importKey("raw", source(raw), "AES-GCM", false, ["encrypt", "decrypt"]);
}

/**
 * @param {CryptoKey} key
 * @param {Uint8Array} iv 12 bytes, never twice with one key
 * @param {Uint8Array} plain
 * @param {Uint8Array} associated
 * @returns {Promise<Uint8Array>} ciphertext and 16 bytes of tag
 */
export async function gcmSeal(key, iv, plain, associated) {
  return new Uint8Array(await subtle().encrypt(gcm(iv, associated), key, source(plain)));
}

/**
 * @param {CryptoKey} key
 * @param {Uint8Array} iv
 * @param {Uint8Array} sealed ciphertext and tag
 * @param {Uint8Array} associated
 * @returns {Promise<Uint8Array>}
 * @throws {Undecryptable}
 */
export async function gcmOpen(key, iv, sealed, associated) {
  try {
    return new Uint8Array(await subtle().decrypt(gcm(iv, associated), key, source(sealed)));
  } catch (cause) {
    throw new Undecryptable("another key", { cause });
  }
}

/**
 * HKDF-SHA256 without salt: 32 bytes as a key that cannot be read.
 *
 * @param {Uint8Array} secret
 * @param {Uint8Array} info
 * @param {AesKeyAlgorithm | HmacImportParams} algorithm of the derived key
 * @param {KeyUsage[]} usages
 * @returns {Promise<CryptoKey>}
 */
export async function hkdf(secret, info, algorithm, usages) {
  const base = await subtle().importKey("raw", source(secret), "HKDF", false, ["deriveKey"]);
  const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: source(info) };
  return subtle().deriveKey(how, base, algorithm, false, usages);
}

/**
 * @param {Uint8Array} iv
 * @param {Uint8Array} associated
 */
function gcm(iv, associated) {
  return { name: "AES-GCM", iv: source(iv), additionalData: source(associated) };
}
