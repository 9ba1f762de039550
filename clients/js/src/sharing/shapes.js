/**
 * The shapes of what others wrote: read as strictly as the servers and the command line do, so that all who
 * read the same text come to the same end.
 *
 * @module
 */
import { fromB64, fromB64url } from "../bytes.js";
import { integerMember, readJsonObject } from "../json.js";

const UUID = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;
const KEY_BYTES = 32;
/** One more than a JWE has. */
const SEGMENTS_MAX = 6;

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
  if (typeof value !== "string" || !UUID.test(value)) return null;
  const digits = value.replaceAll("-", "").toLowerCase();
  if (value.length !== 36 && value.length !== 32) return null;
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
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

/**
 * Whether a JWS has no header but the one that is written here.
 *
 * @param {string} signed
 * @param {string} typ
 * @returns {boolean}
 */
export function isPlainJws(signed, typ) {
  const [header = new Uint8Array()] = segmentsOf(signed);
  return hasOnly(objectIn(header)?.members, { alg: "ES256", typ });
}

/**
 * Whether a JWE has the form that is written here, rather than another that some clients might open.
 *
 * @param {string} sealed
 * @returns {boolean}
 */
export function isPlainJwe(sealed) {
  const [header, wrapped, iv, , tag, more] = segmentsOf(sealed);
  const { epk, ...rest } = objectIn(header)?.members ?? {};
  const { x, y, ...kind } = Object(epk);
  const lengths = [wrapped, iv, tag, bytesIn(x), bytesIn(y)].map((one) => one?.length);
  const known = hasOnly(rest, { alg: "ECDH-ES", enc: "A256GCM" });
  const plain = hasOnly(kind, { kty: "EC", crv: "P-256" }) && String(lengths) === "0,12,16,32,32";
  return known && plain && more === undefined;
}

/**
 * @param {object | undefined} value
 * @param {Record<string, string>} wanted
 */
function hasOnly(value, wanted) {
  const found = Object.entries(value ?? {});
  return found.length === Object.keys(wanted).length && found.every(([name, one]) => wanted[name] === one);
}

/**
 * @param {string} text
 * @returns {(Uint8Array | undefined)[]} Undefined: no base64url.
 */
function segmentsOf(text) {
  return text.split(".", SEGMENTS_MAX).map(bytesIn);
}

/**
 * @param {unknown} text
 * @returns {Uint8Array | undefined}
 */
function bytesIn(text) {
  try {
    return typeof text === "string" ? fromB64url(text) : undefined;
  } catch {
    return undefined;
  }
}
