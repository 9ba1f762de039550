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
export function encode(value: unknown): Bytes;
/**
 * Read one value. Objects have no prototype. Integers beyond 2^53 - 1 are bigints, byte strings are copies.
 *
 * @param {Uint8Array} bytes
 * @returns {unknown}
 * @throws {CborError} bytes behind the value or too few, tags, floats, indefinite lengths, other keys than
 *   text, a key that stands twice, text that is not UTF-8, or more than 32 levels.
 */
export function decode(bytes: Uint8Array): unknown;
/** @typedef {import("./bytes.js").Bytes} Bytes */
/** Deeper values are refused, in both directions. */
export const DEPTH_MAX: 32;
/** What is no CBOR of this kind, or no value that has one. */
export class CborError extends Error {
    /** @param {string} message */
    constructor(message: string);
}
export type Bytes = import("./bytes.js").Bytes;
