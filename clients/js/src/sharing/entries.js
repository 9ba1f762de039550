/**
 * One entry of a membership log as its author signs it, and how it is sealed for the members alone.
 *
 * The server orders the entries and checks their hashes; what is in them it cannot read:
 *
 *     payload   01 | epoch u32 big-endian | IV 12 | AES-256-GCM ciphertext and tag, with the space id
 *     key       HKDF-SHA256 of the epoch's space key, info `less-sync/space/v1/log`
 *     plaintext compact JWS, ES256, `typ` less-sync-member, signed by the author's DID: the JSON of an Entry
 *
 * @module
 */
import { b64, concat, hex, sha256, utf8 } from "../bytes.js";
import { openSealed, sealFor } from "../jose.js";
import { countIn, keyIn, objectIn, textsIn, uuidOf } from "./shapes.js";
import { openSigned, sealSigned } from "./sealing.js";

export const MEMBER = "member";
export const REMOVED = "removed";
export const EPOCH = "epoch";

/** `v` of entries that say which log they were made on top of. Those of version 1 do not. */
export const PLACED = 2;

const TYP = "less-sync-member";
const INFO = "less-sync/space/v1/log";
const CHECK = utf8("less-sync/space/v1/key\0");

/**
 * What an author signs. Which of the last members are set depends on `kind`.
 *
 * @typedef {object} Entry
 * @property {number} v Version 1 has neither `after` nor `check`, and left itself out.
 * @property {string} kind
 * @property {string} space
 * @property {string} author A DID.
 * @property {string} proof The author's own UCAN.
 * @property {number} at Unix seconds, by the author's clock.
 * @property {string} after Hex digest of the whole log before it.
 * @property {string} ucan `member`: the UCAN of who was let in.
 * @property {string[]} cids `removed`: CIDs that were revoked; nobody is a member by a chain through them.
 * @property {number} epoch `epoch`: the epoch whose key this is; `removed`: the one the space was in.
 * @property {Map<string, string>} keys `epoch`: a JWE of the key for each member's DID.
 * @property {string} check `epoch`: `keyCheck` of the key, so that nobody is given another one than the rest.
 */

/**
 * The digest of a log with one more entry; that of the empty log is empty.
 *
 * @param {Uint8Array} digest
 * @param {Uint8Array} entryHash
 * @returns {Promise<Uint8Array>}
 */
export function nextDigest(digest, entryHash) {
  return sha256(concat(digest, entryHash));
}

/**
 * An entry with nothing but what each has.
 *
 * @param {Pick<Entry, "kind" | "space" | "author" | "proof" | "at"> & Partial<Entry>} given
 * @returns {Entry}
 */
export function entryOf(given) {
  return { v: PLACED, after: "", ucan: "", cids: [], epoch: 0, keys: new Map(), check: "", ...given };
}

/**
 * Sign an entry and encrypt it under one key, which all who are to read it have.
 *
 * @param {Entry} entry
 * @param {import("../keys.js").DeviceKey} device The author's.
 * @param {{epoch: number, key: Uint8Array}} under
 * @returns {Promise<Uint8Array>}
 */
export function sealEntry(entry, device, under) {
  return sealSigned(utf8(JSON.stringify(written(entry))), {
    device, typ: TYP, info: INFO, space: entry.space, ...under,
  });
}

/**
 * What of an entry is written: all that is not as it would be if it were missing.
 *
 * @param {Entry} entry
 * @returns {object}
 */
function written(entry) {
  const { v, kind, space, author, proof, at } = entry;
  return {
    ...(v === 1 ? {} : { v }), kind, space, author, proof, at,
    ...(entry.after && { after: entry.after }),
    ...(entry.ucan && { ucan: entry.ucan }),
    ...(entry.cids.length && { cids: entry.cids }),
    ...(entry.epoch && { epoch: entry.epoch }),
    ...(entry.keys.size && { keys: Object.fromEntries(entry.keys) }),
    ...(entry.check && { check: entry.check }),
  };
}

/**
 * Decrypt an entry and verify its signature; null for anything else.
 *
 * @param {Uint8Array} payload
 * @param {string} space
 * @param {(epoch: number) => Uint8Array | undefined} keyOf
 * @returns {Promise<Entry | null>}
 */
export async function openEntry(payload, space, keyOf) {
  /** @param {Uint8Array} plain */
  const authorOf = (plain) => entryIn(plain)?.author ?? null;
  const plain = await openSigned(payload, { typ: TYP, info: INFO, space, keyOf, authorOf });
  return plain && entryIn(plain);
}

const TEXTS = { kind: null, author: null, proof: null, after: "", ucan: "", check: "" };

/**
 * @param {Uint8Array} plain
 * @returns {Entry | null}
 */
function entryIn(plain) {
  const object = objectIn(plain);
  const texts = object && textsIn(object, TEXTS);
  if (!texts) return null;
  const { space: named, cids = [], keys: sealed = {} } = object.members;
  const v = countIn(object, "v", 1);
  const at = countIn(object, "at");
  const epoch = countIn(object, "epoch", 0);
  const space = uuidOf(named);
  const keys = sealedIn(sealed);
  if (v !== 1 && v !== PLACED) return null;
  if (at === null || epoch === null || space === null || !keys) return null;
  if (!Array.isArray(cids) || !cids.every((cid) => typeof cid === "string")) return null;
  return { ...texts, v, at, epoch, space, cids, keys };
}

/**
 * @param {unknown} value
 * @returns {Map<string, string> | null}
 */
function sealedIn(value) {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return null;
  const found = Object.entries(value);
  return found.every(([, text]) => typeof text === "string") ? new Map(found) : null;
}

/**
 * The key of an epoch for each member, as an `epoch` entry carries it. What is no P-256 DID gets none.
 *
 * @param {string} space
 * @param {number} epoch
 * @param {Uint8Array} key
 * @param {Iterable<string>} dids
 * @returns {Promise<Map<string, string>>}
 */
export async function sealedKeys(space, epoch, key, dids) {
  const text = utf8(JSON.stringify({ space, epoch, key: b64(key) }));
  const sealed = new Map();
  for (const did of dids) {
    const jwe = await sealFor(did, text).catch(() => null);
    if (jwe !== null) sealed.set(did, jwe);
  }
  return sealed;
}

/**
 * What an `epoch` entry tells everybody of its key: it proves two keys equal and gives none away.
 *
 * @param {Uint8Array} key
 * @returns {Promise<string>}
 */
export async function keyCheck(key) {
  return hex(await sha256(concat(CHECK, key)));
}

/**
 * The key that an `epoch` entry has for us; null when there is none, or not the one it says it is.
 *
 * @param {Entry} entry
 * @param {import("../keys.js").DeviceKey} device
 * @returns {Promise<Uint8Array | null>}
 */
export async function openedKey(entry, device) {
  const sealed = entry.keys.get(device.did) ?? "";
  const object = objectIn(await openSealed(sealed, device, true));
  if (!object || uuidOf(object.members.space) !== entry.space) return null;
  if (countIn(object, "epoch") !== entry.epoch) return null;
  const key = keyIn(object.members.key);
  if (!key) return null;
  return entry.v < PLACED || entry.check === (await keyCheck(key)) ? key : null;
}
