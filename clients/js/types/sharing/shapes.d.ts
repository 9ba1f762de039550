/** @typedef {import("../json.js").StrictObject} StrictObject */
/**
 * A JSON object in UTF-8; null for anything else, a member named twice included.
 *
 * @param {Uint8Array | null | undefined} data
 * @returns {StrictObject | null}
 */
export function objectIn(data: Uint8Array | null | undefined): StrictObject | null;
/**
 * The texts of these names; null if one is there and is none. `defaults` says what a missing one is.
 *
 * @template {string} Name
 * @param {StrictObject} object
 * @param {Record<Name, string | null>} defaults null: it may not be missing.
 * @returns {Record<Name, string> | null}
 */
export function textsIn<Name extends string>({ members }: StrictObject, defaults: Record<Name, string | null>): Record<Name, string> | null;
/**
 * A whole number from 0 to 2^53 - 1, written as one; null for anything else.
 *
 * @param {StrictObject} object
 * @param {string} name
 * @param {number | null} otherwise What it is if it is missing.
 * @returns {number | null}
 */
export function countIn(object: StrictObject, name: string, otherwise?: number | null): number | null;
/**
 * A UUID in its usual spelling; null for what is none. Hyphens are all there or none is.
 *
 * @param {unknown} value
 * @returns {string | null}
 */
export function uuidOf(value: unknown): string | null;
/**
 * A key of 32 bytes in base64; null for anything else.
 *
 * @param {unknown} value
 * @returns {Uint8Array | null}
 */
export function keyIn(value: unknown): Uint8Array | null;
export type StrictObject = import("../json.js").StrictObject;
