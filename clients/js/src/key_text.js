/**
 * The key of a personal space as one line of text, the same on every device of a user:
 * `less-sync-key-1:` and base64url of the 32 bytes and the first 4 bytes of their SHA-256.
 */

import { b64url, concat, equal, fromB64url, hex, sha256, utf8 } from "./bytes.js";
import { LessSyncError } from "./errors.js";

const PREFIX = "less-sync-key-1:";
const KEY_BYTES = 32;
const CHECK_BYTES = 4;

/**
 * The line, without a line end. Whoever has it can read the space.
 *
 * @param {Uint8Array} secret 32 bytes
 * @returns {Promise<string>}
 */
export async function keyText(secret) {
  if (secret.length !== KEY_BYTES) throw new RangeError("a key has 32 bytes");
  return PREFIX + b64url(concat(secret, await check(secret)));
}

/**
 * Read the line; white space around it is passed over.
 *
 * @param {string} text
 * @returns {Promise<Uint8Array>} 32 bytes
 * @throws {LessSyncError} `code` `no_key`: it is another text; `damaged_key`: mistyped or cut short
 */
export async function parseKeyText(text) {
  const line = text.trim();
  if (!line.startsWith(PREFIX)) {
    throw new LessSyncError("no_key", `a key starts with ${PREFIX}`);
  }
  const checked = decoded(line.slice(PREFIX.length));
  const secret = checked.slice(0, KEY_BYTES);
  if (secret.length !== KEY_BYTES || !equal(checked.subarray(KEY_BYTES), await check(secret))) {
    throw new LessSyncError("damaged_key", "damaged: copy the whole line again");
  }
  return secret;
}

/**
 * 8 hex digits to compare two keys by; they say nothing about the key.
 *
 * @param {Uint8Array} secret
 * @returns {Promise<string>}
 */
export async function keyFingerprint(secret) {
  return hex((await sha256(concat(utf8("less-sync/folder/v1/fingerprint\0"), secret))).subarray(0, 4));
}

/** @param {Uint8Array} secret */
async function check(secret) {
  return (await sha256(secret)).subarray(0, CHECK_BYTES);
}

/** @param {string} text */
function decoded(text) {
  try {
    return fromB64url(text);
  } catch {
    return new Uint8Array();
  }
}
