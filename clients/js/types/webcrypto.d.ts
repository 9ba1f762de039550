/** @typedef {BufferSource & Uint8Array} Source */
/**
 * @returns {SubtleCrypto}
 * @throws {LessSyncError} the page is not from https or localhost
 */
export function subtle(): SubtleCrypto;
/** A view as WebCrypto's types want it; nothing here is ever shared memory. @param {Uint8Array} bytes */
export function source(bytes: Uint8Array): Source;
/**
 * @param {Uint8Array} raw 32 bytes
 * @returns {Promise<CryptoKey>} an AES-256-GCM key
 */
export function gcmKey(raw: Uint8Array): Promise<CryptoKey>;
/**
 * @param {CryptoKey} key
 * @param {Uint8Array} iv 12 bytes, never twice with one key
 * @param {Uint8Array} plain
 * @param {Uint8Array} associated
 * @returns {Promise<Uint8Array>} ciphertext and 16 bytes of tag
 */
export function gcmSeal(key: CryptoKey, iv: Uint8Array, plain: Uint8Array, associated: Uint8Array): Promise<Uint8Array>;
/**
 * @param {CryptoKey} key
 * @param {Uint8Array} iv
 * @param {Uint8Array} sealed ciphertext and tag
 * @param {Uint8Array} associated
 * @returns {Promise<Uint8Array>}
 * @throws {Undecryptable}
 */
export function gcmOpen(key: CryptoKey, iv: Uint8Array, sealed: Uint8Array, associated: Uint8Array): Promise<Uint8Array>;
/**
 * HKDF-SHA256 without salt: 32 bytes as a key that cannot be read.
 *
 * @param {Uint8Array} secret
 * @param {Uint8Array} info
 * @param {AesKeyAlgorithm | HmacImportParams} algorithm of the derived key
 * @param {KeyUsage[]} usages
 * @returns {Promise<CryptoKey>}
 */
export function hkdf(secret: Uint8Array, info: Uint8Array, algorithm: AesKeyAlgorithm | HmacImportParams, usages: KeyUsage[]): Promise<CryptoKey>;
export type Source = BufferSource & Uint8Array;
