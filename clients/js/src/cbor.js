/**
 * CBOR (RFC 8949), as much of it as frames and records need: integers, byte strings, texts, arrays, maps with
 * text keys, booleans and null. Lengths are definite. Everything else is refused, in both directions.
 */

import { Growing, text, utf8 } from "./bytes.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */

/** Deeper values are refused, in both directions. */
export const DEPTH_MAX = 32;

const [UNSIGNED, NEGATIVE, BYTES, TEXT, ARRAY, MAP, SIMPLE] = [0, 1, 2, 3, 4, 5, 7];

/** What is no CBOR of this kind, or no value that has one. */
export class CborError extends Error {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.name = "CborError";
  }
}

/**
 * Spell a value, integers and lengths as short as they can be.
 *
 * Members of plain objects keep their order, but for names such as `"1"`, which JavaScript puts first; those
 * that are undefined are left out. Integers may be numbers or bigints.
 *
 * @param {unknown} value
 * @returns {Bytes}
 * @throws {CborError} a fraction, a lone surrogate, an integer beyond 64 bits, a number that is no safe
 *   integer, an object of a class, undefined anywhere but in an object, or more than 32 levels.
 */
export function encode(value) {
  const writer = new Writer();
  write(writer, value, 0);
  return writer.taken();
}

/**
 * Read one value. Objects have no prototype. Integers beyond 2^53 - 1 are bigints, byte strings are copies.
 *
 * @param {Uint8Array} bytes
 * @returns {unknown}
 * @throws {CborError} bytes behind the value or too few, tags, floats, indefinite lengths, other keys than
 *   text, a key that stands twice, text that is not UTF-8, or more than 32 levels.
 */
export function decode(bytes) {
  const reader = new Reader(bytes);
  const value = read(reader, 0);
  if (reader.at !== bytes.length) throw new CborError("too long");
  return value;
}

class Writer extends Growing {
  /**
   * @param {number} major
   * @param {number | bigint} argument 0 or more, below 2^64.
   */
  head(major, argument) {
    const size = argument < 24 ? 0 : argument < 256 ? 1 : argument < 65536 ? 2 : argument < 2 ** 32 ? 4 : 8;
    this.put(Uint8Array.of((major << 5) | (size ? 24 + Math.log2(size) : Number(argument))));
    if (!size) return;
    const whole = new DataView(new ArrayBuffer(8));
    whole.setBigUint64(0, BigInt(argument));
    this.put(new Uint8Array(whole.buffer, 8 - size));
  }

  /**
   * @param {number} major
   * @param {Uint8Array} bytes
   */
  string(major, bytes) {
    this.head(major, bytes.length);
    this.put(bytes);
  }
}

/**
 * @param {Writer} writer
 * @param {unknown} value
 * @param {number} depth
 */
function write(writer, value, depth) {
  if (depth > DEPTH_MAX) throw new CborError("too deep");
  if (typeof value === "string") writeText(writer, value);
  else if (typeof value === "number" || typeof value === "bigint") writeInteger(writer, value);
  else if (value instanceof Uint8Array) writer.string(BYTES, value);
  else if (Array.isArray(value)) {
    writer.head(ARRAY, value.length);
    for (const item of value) write(writer, item, depth + 1);
  } else if (isPlain(value)) {
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    writer.head(MAP, members.length);
    for (const [key, member] of members) {
      writeText(writer, key);
      write(writer, member, depth + 1);
    }
  } else writer.head(SIMPLE, simple(value));
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function isPlain(value) {
  if (typeof value !== "object" || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/**
 * @param {unknown} value
 * @returns {number}
 */
function simple(value) {
  if (value === null) return 22;
  if (typeof value === "boolean") return value ? 21 : 20;
  throw new CborError(`no ${typeof value}`);
}

/**
 * @param {Writer} writer
 * @param {string} value
 */
function writeText(writer, value) {
  // TextEncoder would write U+FFFD instead, and two different names could become one.
  if (/\p{Surrogate}/u.test(value)) throw new CborError("no UTF-8");
  writer.string(TEXT, utf8(value));
}

/**
 * @param {Writer} writer
 * @param {number | bigint} value
 */
function writeInteger(writer, value) {
  if (typeof value === "number" && !Number.isSafeInteger(value)) throw new CborError("no integer");
  const negative = value < 0;
  const argument = !negative ? value : typeof value === "bigint" ? -1n - value : -1 - value;
  if (argument >= 2n ** 64n) throw new CborError("too large");
  writer.head(negative ? NEGATIVE : UNSIGNED, argument);
}

/** Bytes that are read from the front. */
class Reader {
  at = 0;

  /** @param {Uint8Array} bytes */
  constructor(bytes) {
    this.bytes = bytes;
  }

  /**
   * The next bytes, as a view.
   *
   * @param {number} size
   */
  take(size) {
    const at = this.at;
    if (size > this.bytes.length - at) throw new CborError("too short");
    this.at += size;
    return this.bytes.subarray(at, this.at);
  }

  /**
   * The argument of a head (RFC 8949, 3).
   *
   * @param {number} low
   * @returns {number | bigint}
   */
  argument(low) {
    if (low < 24) return low;
    if (low > 27) throw new CborError("no length");
    const whole = new Uint8Array(8);
    const size = 2 ** (low - 24);
    whole.set(this.take(size), 8 - size);
    const large = new DataView(whole.buffer).getBigUint64(0);
    return large <= Number.MAX_SAFE_INTEGER ? Number(large) : large;
  }
}

/**
 * @param {Reader} reader
 * @param {number} depth
 * @returns {unknown}
 */
function read(reader, depth) {
  if (depth > DEPTH_MAX) throw new CborError("too deep");
  const [head = 0] = reader.take(1);
  const major = head >> 5;
  if (major === SIMPLE) return readSimple(head & 31);
  const argument = reader.argument(head & 31);
  if (major === UNSIGNED) return argument;
  if (major === NEGATIVE) {
    const value = -1n - BigInt(argument);
    return value >= Number.MIN_SAFE_INTEGER ? Number(value) : value;
  }
  // Each item of an array takes a byte at least: a length that lies is refused before memory is asked for.
  const rest = reader.bytes.length - reader.at;
  if (typeof argument === "bigint" || argument > rest) throw new CborError("too short");
  if (major === BYTES) return reader.take(argument).slice();
  if (major === TEXT) return readText(reader, argument);
  if (major === ARRAY) return readArray(reader, argument, depth);
  if (major === MAP) return readMap(reader, argument, depth);
  throw new CborError("a tag");
}

/**
 * @param {number} low
 * @returns {boolean | null}
 */
function readSimple(low) {
  if (low === 20 || low === 21) return low === 21;
  if (low === 22) return null;
  throw new CborError("no such value");
}

/**
 * @param {Reader} reader
 * @param {number} size
 * @returns {string}
 */
function readText(reader, size) {
  const bytes = reader.take(size);
  try {
    return text(bytes);
  } catch {
    throw new CborError("no UTF-8");
  }
}

/**
 * @param {Reader} reader
 * @param {number} size
 * @param {number} depth
 */
function readArray(reader, size, depth) {
  const items = [];
  for (let count = 0; count < size; count++) items.push(read(reader, depth + 1));
  return items;
}

/**
 * @param {Reader} reader
 * @param {number} size
 * @param {number} depth
 */
function readMap(reader, size, depth) {
  /** @type {Record<string, unknown>} */
  const members = Object.create(null);
  for (let count = 0; count < size; count++) {
    const key = read(reader, depth + 1);
    if (typeof key !== "string") throw new CborError("no text");
    if (key in members) throw new CborError("a key twice");
    members[key] = read(reader, depth + 1);
  }
  return members;
}
