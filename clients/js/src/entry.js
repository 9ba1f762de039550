/** What apps put in and get out: values become bytes here, and bytes entries. */

import { text, utf8 } from "./bytes.js";
import { LessSyncError } from "./errors.js";
import { MadeOf } from "./made_of.js";
import { isHere } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Content} Content */

/**
 * What is at a path.
 *
 * @typedef {object} Entry
 * @property {string} path
 * @property {number} size  bytes
 * @property {string} digest  SHA-256 of the bytes, in hex
 * @property {Date} mtime  when it was last written, by the clock of who wrote it
 * @property {Uint8Array} bytes  empty for a large entry that `list` gives: `get` fetches it
 * @property {boolean} large  whether the content is kept apart, and may have to be fetched
 * @property {() => string} text  the bytes as UTF-8; throws TypeError if they are none
 * @property {() => any} json  the bytes as JSON; throws SyntaxError or TypeError if they are none
 */

/**
 * Two versions of one entry that do not follow each other. `base` is what both sides had, undefined if that is
 * not known.
 *
 * @typedef {object} Versions
 * @property {Uint8Array | undefined} base
 * @property {Uint8Array} mine
 * @property {Uint8Array} theirs
 */

/**
 * Decides about two versions of a small entry: returns what is to be there (bytes, text or a JSON value), or
 * undefined to keep both, the one from here as a conflict copy. May be asked again about the same pair.
 *
 * @typedef {(path: string, versions: Versions) => any} Merge
 */

/**
 * The bytes of what an app gives: bytes and Blobs as they are, text as UTF-8, anything else as JSON.
 *
 * @param {any} value
 * @returns {Uint8Array | Blob}
 * @throws {TypeError} it is undefined, a function or the like, or has cycles
 */
export function sourceOf(value) {
  if (value instanceof Blob) return value;
  // Also another kind of array, of another window, or a Buffer, whose own `slice` would not copy.
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  const spelled = typeof value === "string" ? value : JSON.stringify(value);
  if (spelled === undefined) throw new TypeError("no bytes, text or JSON");
  return utf8(spelled);
}

/**
 * @param {Row} row  of something that is here
 * @param {Uint8Array} [bytes]  of a large one
 * @returns {Entry}
 */
export function entryOf({ path, local }, bytes) {
  const { size, mtime, digest, bytes: inline } = /** @type {Content} */ (local);
  const found = bytes ?? inline ?? new Uint8Array();
  return {
    path,
    size,
    digest,
    mtime: new Date(mtime),
    bytes: found,
    large: !inline,
    text: () => text(found),
    json: () => JSON.parse(text(found)),
  };
}

/**
 * @typedef {object} MergingParts
 * @property {import("./contents.js").Contents} contents
 * @property {Merge | undefined} merge
 * @property {(name: string, detail: any) => void} tell
 * @property {() => number} now  milliseconds since 1970
 */

/**
 * Asks the app about two versions.
 *
 * @extends {MadeOf<MergingParts>}
 */
export class Merging extends MadeOf {
  /**
   * What is to be at a path; undefined: both are to be kept.
   *
   * @param {Row} row
   * @param {Content} theirs
   * @returns {Promise<Content | undefined>}
   */
  async merged({ path, local, base }, theirs) {
    const small = local?.bytes !== undefined && theirs.bytes !== undefined;
    if (!this.merge || !local || !small || !isHere(local)) return undefined;
    const versions = { base: base?.bytes, mine: /** @type {Uint8Array} */ (local.bytes), theirs: theirs.bytes };
    try {
      const value = await this.merge(path, /** @type {Versions} */ (versions));
      return value === undefined ? undefined : await this.contents.keep(sourceOf(value), this.now());
    } catch (cause) {
      this.tell("error", new LessSyncError("merge", `${path}: merge failed`, { cause }));
      return undefined;
    }
  }
}
