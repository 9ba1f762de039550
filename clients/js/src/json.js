/** One JSON object, read in exactly one way: as docs/tokens.md 1.2 says, so that client and server agree. */

import { text } from "./bytes.js";

const DEPTH_MAX = 128;
/** A text need not end here: were it to, many quotes that are never closed would each be read to the end. */
const TOKEN = /"(?:[^"\\]|\\.)*"?|-?\d[\d.eE+-]*|[{}[\]:]/gs;
const UINT64_MAX = 2n ** 64n - 1n;
const UINT64_DIGITS = 20;

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
export function readJsonObject(bytes) {
  const json = text(bytes);
  const numbers = walk(json);
  const value = JSON.parse(json);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new SyntaxError("no object");
  return { members: Object.assign(Object.create(null), value), numbers };
}

/**
 * The members of one JSON object alone, read as strictly.
 *
 * @param {Uint8Array} bytes
 * @returns {Record<string, any>} without a prototype
 * @throws {SyntaxError | TypeError}
 */
export function parseJsonObject(bytes) {
  return readJsonObject(bytes).members;
}

/**
 * What `JSON.parse` does not tell. Runs before it, which is recursive and is not to see deep nesting; what is
 * no JSON passes here and fails there.
 *
 * @param {string} text
 */
function walk(text) {
  /** @type {(Set<string> | undefined)[]} an object's names so far; nothing for an array */
  const open = [];
  /** @type {Map<string, string>} */
  const numbers = new Map();
  let last = "";
  let name = "";
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "{" || token === "[") {
      if (open.push(token === "{" ? new Set() : undefined) > DEPTH_MAX) throw new SyntaxError("too deep");
    } else if (token === "}" || token === "]") open.pop();
    else if (token === ":") {
      const names = open.at(-1);
      const found = JSON.parse(last);
      if (names?.has(found)) throw new SyntaxError("a key twice");
      names?.add(found);
      if (open.length === 1) name = found;
    } else if (open.length === 1 && last === ":" && token[0] !== '"') numbers.set(name, token);
    last = token;
  }
  return numbers;
}

/**
 * An integer member from 0 to 2^64 - 1, written as one (`1.0` and `-0` are none); undefined if absent or
 * null.
 *
 * @param {StrictObject} object
 * @param {string} name
 * @returns {bigint | undefined}
 * @throws {SyntaxError} another type or range
 */
export function integerMember({ members, numbers }, name) {
  if (members[name] == null) return undefined;
  const digits = numbers.get(name) ?? "";
  const value = /^\d+$/.test(digits) && digits.length <= UINT64_DIGITS ? BigInt(digits) : -1n;
  if (value < 0n || value > UINT64_MAX) throw new SyntaxError("no integer");
  return value;
}
