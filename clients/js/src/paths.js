/**
 * Which paths an entry may have, and how a conflict copy is called.
 *
 * The rules are those of synced folders (docs/folder-format.md, "Paths"): a path has to mean the same file on
 * every system that may sync the space.
 */

import { utf8 } from "./bytes.js";

const NAME_BYTES_MAX = 255;
const PATH_BYTES_MAX = 3072;
const SUFFIX_BYTES_MAX = 64;

/**
 * Why a path may not be used, or undefined when it may.
 *
 * @param {string} path
 * @returns {string | undefined}
 */
export function pathProblem(path) {
  if (/\p{Surrogate}/u.test(path)) {
    return "the path is no UTF-8";
  }
  if (utf8(path).length > PATH_BYTES_MAX) {
    return `the path is longer than ${PATH_BYTES_MAX} bytes`;
  }
  // eslint-disable-next-line no-control-regex
  if (/[\x00-\x1f\x7f]/.test(path)) {
    return "the path has control characters";
  }
  if (path.normalize("NFC") !== path) {
    return "the path is not in NFC";
  }
  for (const name of path.split("/")) {
    if (name === "" || name === "." || name === "..") {
      return "the path leads out, or has an empty name";
    }
    if (utf8(name).length > NAME_BYTES_MAX) {
      return `a name is longer than ${NAME_BYTES_MAX} bytes`;
    }
    if (isStateDirectory(name)) {
      return "the path is a folder's .less-sync";
    }
  }
  return undefined;
}

/**
 * Whether some file system takes a name for `.less-sync`: case, invisible or full-width characters.
 *
 * @param {string} name
 */
function isStateDirectory(name) {
  const folded = name.replace(/\p{Cf}/gu, "").normalize("NFKC").toLowerCase().replaceAll("ß", "ss");
  return folded.replace(/[ .]+$/, "") === ".less-sync";
}

/**
 * `name (conflict YYYY-MM-DD HHMMSS).ext`, in local time; from the second attempt on with a number.
 *
 * @param {string} path
 * @param {Date} at
 * @param {number} [attempt]
 * @returns {string}
 */
export function conflictPath(path, at, attempt = 1) {
  const start = path.lastIndexOf("/") + 1;
  const name = path.slice(start);
  const dot = name.lastIndexOf(".");
  const found = dot > 0 && dot < name.length - 1 ? name.slice(dot) : "";
  const suffix = utf8(found).length < SUFFIX_BYTES_MAX ? found : "";
  const mark = ` (conflict ${stamp(at)}${attempt > 1 ? ` ${attempt}` : ""})${suffix}`;
  let folder = path.slice(0, start);
  // Where a path would become too long, the copy goes into the next folder above that has room.
  while (utf8(folder + mark).length >= PATH_BYTES_MAX) {
    folder = folder.slice(0, folder.lastIndexOf("/", folder.length - 2) + 1);
  }
  const bytesMax = Math.min(NAME_BYTES_MAX, PATH_BYTES_MAX - utf8(folder).length) - utf8(mark).length;
  return folder + cut(name.slice(0, name.length - suffix.length), bytesMax) + mark;
}

/** @param {Date} at */
function stamp(at) {
  const local = new Date(at.getTime() - at.getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace("T", " ").replaceAll(":", "");
}

/**
 * The longest start of a text that has at most so many bytes.
 *
 * @param {string} text
 * @param {number} bytes
 */
function cut(text, bytes) {
  let found = "";
  let size = 0;
  for (const character of text) {
    size += utf8(character).length;
    if (size > bytes) {
      break;
    }
    found += character;
  }
  return found;
}
