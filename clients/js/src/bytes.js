/**
 * Bytes and their spellings: UTF-8, hex, base64, UUIDs. Nothing here knows of the protocol.
 *
 * @typedef {Uint8Array<ArrayBuffer>} Bytes
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const DIGITS = encoder.encode("0123456789abcdef");
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/**
 * Spell a text in UTF-8.
 *
 * @param {string} value a lone surrogate becomes U+FFFD.
 * @returns {Bytes}
 */
export function utf8(value) {
  return encoder.encode(value);
}

/**
 * Read UTF-8; a leading byte order mark is part of the text.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 * @throws {TypeError} the bytes are not UTF-8.
 */
export function text(bytes) {
  return decoder.decode(bytes);
}

/**
 * Spell bytes in lower-case hex digits.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function hex(bytes) {
  const digits = new Uint8Array(2 * bytes.length);
  for (let at = 0; at < bytes.length; at++) {
    const byte = /** @type {number} */ (bytes[at]);
    digits[2 * at] = /** @type {number} */ (DIGITS[byte >> 4]);
    digits[2 * at + 1] = /** @type {number} */ (DIGITS[byte & 15]);
  }
  return text(digits);
}

/**
 * Read hex digits of either case.
 *
 * @param {string} digits
 * @returns {Bytes}
 * @throws {RangeError} another character, or an odd number of digits.
 */
export function fromHex(digits) {
  if (digits.length % 2 || /[^0-9a-f]/i.test(digits)) throw new RangeError("not hex");
  return Uint8Array.from(digits.match(/../g) ?? [], (two) => parseInt(two, 16));
}

/**
 * Spell bytes in base64 with padding (RFC 4648, 4).
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function b64(bytes) {
  let binary = "";
  // fromCharCode takes each byte as an argument, and engines bound the number of arguments.
  for (let at = 0; at < bytes.length; at += 8192) {
    binary += String.fromCharCode(...bytes.subarray(at, at + 8192));
  }
  return btoa(binary);
}

/**
 * Read base64 with padding, strictly: what `b64` writes and nothing else.
 *
 * @param {string} value
 * @returns {Bytes}
 * @throws {RangeError} anything else, unused bits that are set and white space included.
 */
export function fromB64(value) {
  return decoded(value, value, b64);
}

/**
 * Spell bytes in base64url without padding (RFC 4648, 5).
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function b64url(bytes) {
  return b64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * Read base64url without padding, strictly: what `b64url` writes and nothing else.
 *
 * @param {string} value
 * @returns {Bytes}
 * @throws {RangeError} anything else, padding and unused bits that are set included.
 */
export function fromB64url(value) {
  return decoded(value, value.replaceAll("-", "+").replaceAll("_", "/"), b64url);
}

/**
 * @param {string} value
 * @param {string} base64 the same, as `atob` takes it
 * @param {(bytes: Bytes) => string} spelled as `value` has to be
 * @returns {Bytes}
 */
function decoded(value, base64, spelled) {
  try {
    const bytes = Uint8Array.from(atob(base64), (one) => one.charCodeAt(0));
    if (spelled(bytes) === value) return bytes;
  } catch {
    // told below
  }
  throw new RangeError("not base64");
}

/**
 * Join bytes into one array of their own.
 *
 * @param {...Uint8Array} parts
 * @returns {Bytes}
 */
export function concat(...parts) {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Bytes that grow, to twice as many at a time. */
export class Growing {
  #bytes = new Uint8Array(256);
  size = 0;

  /** @param {Uint8Array} more */
  put(more) {
    const at = this.size;
    this.size += more.length;
    if (this.size > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.size, 2 * this.#bytes.length));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes.set(more, at);
  }

  /** @returns {Bytes} */
  taken() {
    return this.#bytes.slice(0, this.size);
  }
}

/**
 * Whether two arrays hold the same bytes. The time depends on their lengths alone.
 *
 * @param {Uint8Array} a
 * @param {Uint8Array} b
 * @returns {boolean}
 */
export function equal(a, b) {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let at = 0; at < a.length; at++) difference |= /** @type {any} */ (a[at]) ^ /** @type {any} */ (b[at]);
  return difference === 0;
}

/**
 * Spell a number as four bytes, the highest first.
 *
 * @param {number} n
 * @returns {Bytes}
 * @throws {RangeError} it is no integer from 0 to 4294967295.
 */
export function u32be(n) {
  if (!Number.isInteger(n) || n < 0 || n > 0xffffffff) throw new RangeError("not a u32");
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, n);
  return bytes;
}

/**
 * The 16 bytes of a UUID of 36 characters, in letters of either case.
 *
 * @param {string} value
 * @returns {Bytes}
 * @throws {RangeError} it is none.
 */
export function uuidBytes(value) {
  if (!UUID.test(value)) throw new RangeError("not a UUID");
  return fromHex(value.replaceAll("-", ""));
}

/**
 * Spell 16 bytes as a UUID: 36 characters, lower case.
 *
 * @param {Uint8Array} bytes
 * @returns {string}
 * @throws {RangeError} there are not 16.
 */
export function uuidText(bytes) {
  if (bytes.length !== 16) throw new RangeError("not a UUID");
  return hex(bytes).replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/**
 * A random UUID (version 4). Unlike `crypto.randomUUID` it works on pages without https, too.
 *
 * @returns {string}
 */
export function randomUuid() {
  const bytes = randomBytes(16);
  bytes[6] = (/** @type {number} */ (bytes[6]) & 0x0f) | 0x40;
  bytes[8] = (/** @type {number} */ (bytes[8]) & 0x3f) | 0x80;
  return uuidText(bytes);
}

/**
 * Bytes that nobody can guess.
 *
 * @param {number} n at most 65536.
 * @returns {Bytes}
 */
export function randomBytes(n) {
  return crypto.getRandomValues(new Uint8Array(n));
}

/**
 * SHA-256 of bytes.
 *
 * @param {Uint8Array} bytes
 * @returns {Promise<Bytes>} 32 bytes.
 */
export async function sha256(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", /** @type {Bytes} */ (bytes)));
}
