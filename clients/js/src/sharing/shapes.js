/**
 * The shapes of what others wrote: read as strictly as the servers and the command line do, so that all who
 * read the same text come to the same end.
 *
 * @module
 */
import { fromB64, fromHex, uuidBytes, uuidText } from "../bytes.js";
import { integerMember, readJsonObject } from "../json.js";

const KEY_BYTES = 32;

/** @typedef {import("../json.js").StrictObject} StrictObject */

/**
 * A JSON object in UTF-8; null for anything else, a member named twice included.
 *
 * @param {Uint8Array | null | undefined} data
 * @returns {StrictObject | null}
 */
export function objectIn(data) {
  try {
    return data ? readJsonObject(data) : null;
  } catch {
    return null;
  }
}

/**
 * The texts of these names; null if one is there and is none. `defaults` says what a missing one is.
 *
 * @template {string} Name
 * @param {StrictObject} object
 * @param {Record<Name, string | null>} defaults null: it may not be missing.
 * @returns {Record<Name, string> | null}
 */
export function textsIn({ members }, defaults) {
  const found = Object.entries(defaults).map(([name, otherwise]) => {
    return [name, name in members ? members[name] : otherwise];
  });
  return found.every(([, value]) => typeof value === "string") ? Object.fromEntries(found) : null;
}

/**
 * A whole number from 0 to 2^53 - 1, written as one; null for anything else.
 *
 * @param {StrictObject} object
 * @param {string} name
 * @param {number | null} otherwise What it is if it is missing.
 * @returns {number | null}
 */
export function countIn(object, name, otherwise = null) {
  if (!(name in object.members)) return otherwise;
  try {
    const value = Number(integerMember(object, name) ?? -1);
    return Number.isSafeInteger(value) && value >= 0 ? value : null;
  } catch {
    return null;
  }
}

/**
 * A UUID in its usual spelling; null for what is none. Hyphens are all there or none is.
 *
 * @param {unknown} value
 * @returns {string | null}
 */
export function uuidOf(value) {
  if (typeof value !== "string") return null;
  try {
    return uuidText(value.includes("-") ? uuidBytes(value) : fromHex(value));
  } catch {
    return null;
  }
}

/**
 * A key of 32 bytes in base64; null for anything else.
 *
 * @param {unknown} value
 * @returns {Uint8Array | null}
 */
export function keyIn(value) {
  if (typeof value !== "string") return null;
  try {
    const key = fromB64(value);
    return key.length === KEY_BYTES ? key : null;
  } catch {
    return null;
  }
}
