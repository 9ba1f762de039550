/**
 * What a record says once it is decrypted: CBOR maps, written here and read without trust.
 *
 *     {v: 2, kind: "file", version, path, mtime_ns, content}                  a file
 *     {v: 2, kind: "deleted", version, path, mtime_ns, content: ""}           there was one
 *     {v: 2, kind: "large", version, path, mtime_ns, size, digest, content}   a file whose content is apart
 *     {v: 2, kind: "content", version: 1, size, digest, part_bytes, parts}    that content: which part files
 *     {v: 1, path, mtime_ns, content}                                         a file, of earlier releases
 *
 * The members are told in docs/folder-format.md. A later version of this client may have written one.
 */

import { uuidBytes, uuidText } from "./bytes.js";
import { decode, encode } from "./cbor.js";
import { LessSyncError } from "./errors.js";

const FORMAT = 2;
/** Largest version of a record, and largest content it can tell of. */
export const VERSION_MAX = Number.MAX_SAFE_INTEGER;
/** Bounds of the plaintext of one part file. */
export const PART_BYTES_MIN = 1024 * 1024;
export const PART_BYTES_MAX = 64 * 1024 * 1024;
const CONTENT_VERSION = 1;
const MTIME_NS_MAX = 2n ** 62n;
const DIGEST_BYTES = 32;
const ID_BYTES = 16;
const DEPTH_MAX = 4;
const KINDS = ["file", "deleted", "large", "content"];

/**
 * @typedef {object} PlainFile A file, or that there was one; the path is as its author wrote it.
 * @property {"file" | "deleted"} kind
 * @property {number} version 0 in a record of format 1, which has none
 * @property {string} path
 * @property {bigint} mtimeNs since 1970; of a deletion, when it was made
 * @property {Uint8Array} content empty for a deletion
 */

/**
 * @typedef {object} PlainLarge A file whose content is in part files.
 * @property {"large"} kind
 * @property {number} version
 * @property {string} path
 * @property {bigint} mtimeNs
 * @property {number} size bytes of the whole content
 * @property {Uint8Array} digest its SHA-256
 * @property {string} content id of the content record
 */

/**
 * @typedef {object} PlainContent The part files of a content, in order: all have `partBytes` but the last.
 * @property {"content"} kind
 * @property {number} version
 * @property {number} size
 * @property {Uint8Array} digest
 * @property {number} partBytes
 * @property {string[]} parts ids, at least one, no two alike
 */

/** @typedef {PlainFile | PlainLarge} PlainPath What a record says of its path. */

/** The record is authentic but of a later version, or of another shape: it is to be left alone. */
export class ForeignRecord extends LessSyncError {
  /** @param {string} [code] */
  constructor(code = "foreign_record") {
    super(code, "a record of a later version");
  }
}

/** The record is of this format and of a kind that this version does not know: it is to be left alone. */
export class OtherKind extends ForeignRecord {
  constructor() {
    super("other_kind");
  }
}

/**
 * How many parts a content of this size has; an empty one has one.
 *
 * @param {number} size
 * @param {number} partBytes
 * @returns {number}
 */
export function partCount(size, partBytes) {
  return Math.max(1, Math.ceil(size / partBytes));
}

/**
 * The plaintext of a record of a path.
 *
 * @param {PlainPath} file
 * @returns {Uint8Array}
 */
export function encodeFile(file) {
  const { kind, version, path, mtimeNs } = file;
  const head = { v: FORMAT, kind, version, path, mtime_ns: mtimeNs };
  if (file.kind !== "large") return encode({ ...head, content: file.content });
  return encode({ ...head, size: file.size, digest: file.digest, content: uuidBytes(file.content) });
}

/**
 * The plaintext of a content record.
 *
 * @param {Omit<PlainContent, "kind" | "version">} content
 * @returns {Uint8Array}
 */
export function encodeContent({ size, digest, partBytes, parts }) {
  const head = { v: FORMAT, kind: "content", version: CONTENT_VERSION };
  return encode({ ...head, size, digest, part_bytes: partBytes, parts: parts.map(uuidBytes) });
}

/**
 * Read a plaintext.
 *
 * @param {Uint8Array} plain
 * @returns {PlainPath | PlainContent}
 * @throws {ForeignRecord} it is not of this format; `OtherKind` where this format allows it
 */
export function decodePlain(plain) {
  const value = mapOf(plain);
  if (value.v === 1) return { ...pathOf(value), kind: "file", version: 0, content: bytesOf(value.content) };
  demand(value.v === FORMAT && typeof value.kind === "string");
  const version = value.version;
  const kind = /** @type {"file" | "deleted" | "large" | "content"} */ (value.kind);
  if (!KINDS.includes(kind)) throw new OtherKind();
  demand(isInteger(version, 1, VERSION_MAX));
  if (kind === "content") return contentOf(value);
  const head = { ...pathOf(value), version };
  const content = bytesOf(value.content);
  if (kind === "large") return { ...head, kind, ...wholeOf(value), content: idOf(content) };
  demand(kind === "file" || content.length === 0);
  return { ...head, kind, content };
}

/**
 * @param {unknown} holds
 * @returns {asserts holds}
 */
function demand(holds) {
  if (!holds) throw new ForeignRecord();
}

/**
 * @param {Uint8Array} plain
 * @returns {Record<string, any>}
 */
function mapOf(plain) {
  let value;
  try {
    value = decode(plain);
  } catch {
    throw new ForeignRecord();
  }
  const isMap = typeof value === "object" && value !== null && !Array.isArray(value) && !isBytes(value);
  demand(isMap && isWithin(value, DEPTH_MAX));
  return /** @type {Record<string, any>} */ (value);
}

/**
 * Whether there are at most so many containers inside each other. A list may have as many items as fit into a
 * record, which is more than a function takes as arguments.
 *
 * @param {unknown} value
 * @param {number} depth
 * @returns {boolean}
 */
function isWithin(value, depth) {
  if (typeof value !== "object" || value === null || isBytes(value)) return true;
  return depth > 0 && Object.values(value).every((one) => isWithin(one, depth - 1));
}

/**
 * @param {unknown} value
 * @returns {value is Uint8Array}
 */
function isBytes(value) {
  return value instanceof Uint8Array;
}

/**
 * @param {unknown} value
 * @param {number} min
 * @param {number} max
 * @returns {value is number}
 */
function isInteger(value, min, max) {
  return typeof value === "number" && value >= min && value <= max;
}

/** @param {Record<string, any>} value */
function pathOf({ path, mtime_ns: mtime }) {
  demand(typeof path === "string" && (typeof mtime === "number" || typeof mtime === "bigint"));
  const mtimeNs = BigInt(mtime);
  demand(-MTIME_NS_MAX <= mtimeNs && mtimeNs <= MTIME_NS_MAX);
  return { path, mtimeNs };
}

/**
 * @param {Record<string, any>} value
 * @returns {PlainContent}
 */
function contentOf(value) {
  const whole = wholeOf(value);
  const { part_bytes: partBytes, parts } = value;
  demand(isInteger(partBytes, PART_BYTES_MIN, PART_BYTES_MAX) && Array.isArray(parts));
  demand(parts.length === partCount(whole.size, partBytes));
  const ids = parts.map(idOf);
  demand(new Set(ids).size === ids.length);
  return { kind: "content", version: value.version, ...whole, partBytes, parts: ids };
}

/** @param {Record<string, any>} value */
function wholeOf({ size, digest }) {
  demand(isInteger(size, 0, VERSION_MAX) && isBytes(digest) && digest.length === DIGEST_BYTES);
  return { size, digest };
}

/** @param {unknown} value */
function bytesOf(value) {
  demand(isBytes(value));
  return value;
}

/** @param {unknown} value */
function idOf(value) {
  demand(isBytes(value) && value.length === ID_BYTES);
  return uuidText(value);
}
