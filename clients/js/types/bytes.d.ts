/**
 * Spell a text in UTF-8.
 *
 * @param {string} value a lone surrogate becomes U+FFFD.
 * @returns {Bytes}
 */
export function utf8(value: string): Bytes;
/**
 * Read UTF-8; a leading byte order mark is part of the text.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 * @throws {TypeError} the bytes are not UTF-8.
 */
export function text(bytes: Uint8Array): string;
/**
 * Spell bytes in lower-case hex digits.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function hex(bytes: Uint8Array): string;
/**
 * Read hex digits of either case.
 *
 * @param {string} digits
 * @returns {Bytes}
 * @throws {RangeError} another character, or an odd number of digits.
 */
export function fromHex(digits: string): Bytes;
/**
 * Spell bytes in base64 with padding (RFC 4648, 4).
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function b64(bytes: Uint8Array): string;
/**
 * Read base64 with padding, strictly: what `b64` writes and nothing else.
 *
 * @param {string} value
 * @returns {Bytes}
 * @throws {RangeError} anything else, unused bits that are set and white space included.
 */
export function fromB64(value: string): Bytes;
/**
 * Spell bytes in base64url without padding (RFC 4648, 5).
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function b64url(bytes: Uint8Array): string;
/**
 * Read base64url without padding, strictly: what `b64url` writes and nothing else.
 *
 * @param {string} value
 * @returns {Bytes}
 * @throws {RangeError} anything else, padding and unused bits that are set included.
 */
export function fromB64url(value: string): Bytes;
/**
 * Join bytes into one array of their own.
 *
 * @param {...Uint8Array} parts
 * @returns {Bytes}
 */
export function concat(...parts: Uint8Array[]): Bytes;
/**
 * Whether two arrays hold the same bytes. The time depends on their lengths alone.
 *
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 * @returns {boolean}
 */
export function equal(a: Uint8Array, b: Uint8Array): boolean;
/**
 * Spell a number as four bytes, the highest first.
 *
 * @param {number} n
 * @returns {Bytes}
 * @throws {RangeError} it is no integer from 0 to 4294967295.
 */
export function u32be(n: number): Bytes;
/**
 * The 16 bytes of a UUID of 36 characters, in letters of either case.
 *
 * @param {string} value
 * @returns {Bytes}
 * @throws {RangeError} it is none.
 */
export function uuidBytes(value: string): Bytes;
/**
 * Spell 16 bytes as a UUID: 36 characters, lower case.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 * @throws {RangeError} there are not 16.
 */
export function uuidText(bytes: Uint8Array): string;
/**
 * A random UUID (version 4). Unlike `crypto.randomUUID` it works on pages without https, too.
 *
 * @returns {string}
 */
export function randomUuid(): string;
/**
 * Bytes that nobody can guess.
 *
 * @param {number} n at most 65536.
 * @returns {Bytes}
 */
export function randomBytes(n: number): Bytes;
/**
 * SHA-256 of bytes.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<Bytes>} 32 bytes.
 */
export function sha256(bytes: Uint8Array): Promise<Bytes>;
/** Bytes that grow, to twice as many at a time. */
export class Growing {
    size: number;
    /** @param {Uint8Array} more */
    put(more: Uint8Array): void;
    /** @returns {Bytes} */
    taken(): Bytes;
    #private;
}
/**
 * Bytes and their spellings: UTF-8, hex, base64, UUIDs. Nothing here knows of the protocol.
 */
export type Bytes = Uint8Array<ArrayBuffer>;
