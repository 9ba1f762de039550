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
export function nextDigest(digest: Uint8Array, entryHash: Uint8Array): Promise<Uint8Array>;
/**
 * An entry with nothing but what each has.
 *
 * @param {Pick<Entry, "kind" | "space" | "author" | "proof" | "at"> & Partial<Entry>} given
 * @returns {Entry}
 */
export function entryOf(given: Pick<Entry, "kind" | "space" | "author" | "proof" | "at"> & Partial<Entry>): Entry;
/**
 * Sign an entry and encrypt it under one key, which all who are to read it have.
 *
 * @param {Entry} entry
 * @param {import("../keys.js").DeviceKey} device The author's.
 * @param {{epoch: number, key: Uint8Array}} under
 * @returns {Promise<Uint8Array>}
 */
export function sealEntry(entry: Entry, device: import("../keys.js").DeviceKey, under: {
    epoch: number;
    key: Uint8Array;
}): Promise<Uint8Array>;
/**
 * Decrypt an entry and verify its signature; null for anything else.
 *
 * @param {Uint8Array} payload
 * @param {string} space
 * @param {(epoch: number) => Uint8Array | undefined} keyOf
 * @returns {Promise<Entry | null>}
 */
export function openEntry(payload: Uint8Array, space: string, keyOf: (epoch: number) => Uint8Array | undefined): Promise<Entry | null>;
/**
 * The key of an epoch for each member, as an `epoch` entry carries it. What is no P-256 DID gets none.
 *
 * @param {string} space
 * @param {number} epoch
 * @param {Uint8Array} key
 * @param {Iterable<string>} dids
 * @returns {Promise<Map<string, string>>}
 */
export function sealedKeys(space: string, epoch: number, key: Uint8Array, dids: Iterable<string>): Promise<Map<string, string>>;
/**
 * What an `epoch` entry tells everybody of its key: it proves two keys equal and gives none away.
 *
 * @param {Uint8Array} key
 * @returns {Promise<string>}
 */
export function keyCheck(key: Uint8Array): Promise<string>;
/**
 * The key that an `epoch` entry has for us; null when there is none, or not the one it says it is.
 *
 * @param {Entry} entry
 * @param {import("../keys.js").DeviceKey} device
 * @returns {Promise<Uint8Array | null>}
 */
export function openedKey(entry: Entry, device: import("../keys.js").DeviceKey): Promise<Uint8Array | null>;
export const MEMBER: "member";
export const REMOVED: "removed";
export const EPOCH: "epoch";
/** `v` of entries that say which log they were made on top of. Those of version 1 do not. */
export const PLACED: 2;
/**
 * What an author signs. Which of the last members are set depends on `kind`.
 */
export type Entry = {
    /**
     * Version 1 has neither `after` nor `check`, and left itself out.
     */
    v: number;
    kind: string;
    space: string;
    /**
     * A DID.
     */
    author: string;
    /**
     * The author's own UCAN.
     */
    proof: string;
    /**
     * Unix seconds, by the author's clock.
     */
    at: number;
    /**
     * Hex digest of the whole log before it.
     */
    after: string;
    /**
     * `member`: the UCAN of who was let in.
     */
    ucan: string;
    /**
     * `removed`: CIDs that were revoked; nobody is a member by a chain through them.
     */
    cids: string[];
    /**
     * `epoch`: the epoch whose key this is; `removed`: the one the space was in.
     */
    epoch: number;
    /**
     * `epoch`: a JWE of the key for each member's DID.
     */
    keys: Map<string, string>;
    /**
     * `epoch`: `keyCheck` of the key, so that nobody is given another one than the rest.
     */
    check: string;
};
