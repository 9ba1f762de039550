/**
 * @typedef {object} StrictObject
 * @property {Record<string, unknown>} members without a prototype
 * @property {Map<string, string>} numbers the digits of those members that are numbers, as written
 */
/**
 * UTF-8 without BOM, no member twice at any depth, at most 128 containers deep.
 *
 * @param {Uint8Array} bytes
 * @returns {StrictObject}
 * @throws {SyntaxError | TypeError} anything else
 */
export function readJsonObject(bytes: Uint8Array): StrictObject;
/**
 * The members of one JSON object alone, read as strictly.
 *
 * @param {Uint8Array} bytes
 * @returns {Record<string, any>} without a prototype
 * @throws {SyntaxError | TypeError}
 */
export function parseJsonObject(bytes: Uint8Array): Record<string, any>;
/**
 * An integer member from 0 to 2^64 - 1, written as one (`1.0` and `-0` are none); undefined if absent or
 * null.
 *
 * @param {StrictObject} object
 * @param {string} name
 * @returns {bigint | undefined}
 * @throws {SyntaxError} another type or range
 */
export function integerMember({ members, numbers }: StrictObject, name: string): bigint | undefined;
export type StrictObject = {
    /**
     * without a prototype
     */
    members: Record<string, unknown>;
    /**
     * the digits of those members that are numbers, as written
     */
    numbers: Map<string, string>;
};
