/**
 * What somebody knows of a shared space, and what the functions about sharing work with.
 *
 * @module
 */
import { b64, fromB64 } from "../bytes.js";
import { Refused } from "../errors.js";
import { SpaceKeys } from "../space_keys.js";
import { parseUcan } from "../ucan.js";

/**
 * One UCAN that was handed out from here.
 *
 * @typedef {object} Delegation
 * @property {string} did
 * @property {string} cid
 * @property {Permission} permission
 * @property {number} expires_at Unix seconds.
 * @property {boolean} [revoked]
 */

/**
 * A rotation of the keys that is under way: since which epoch, and who is to be removed by it.
 *
 * @typedef {object} Rotation
 * @property {number} from_epoch
 * @property {string[]} [remove]
 */

/**
 * How far a membership log was read: a log that is no continuation of it is not the space's.
 *
 * @typedef {object} LogPlace
 * @property {number} [entries]
 * @property {string} [digest] Base64.
 */

/**
 * What a member knows: the same JSON as `.less-sync/shared.json` of a folder (docs/sharing.md). It holds
 * secrets, so it is neither printed nor logged.
 *
 * @typedef {object} SharedState
 * @property {1} [v] 1 where it is missing.
 * @property {string} space Hyphenated, lower case.
 * @property {string} ucan The token that lets us in.
 * @property {Record<string, string>} keys Epoch to base64 of 32 bytes; the lowest also derives record ids.
 * @property {Delegation[]} [delegated]
 * @property {Rotation} [rotation] Not yet completed; `rotate` goes on with it.
 * @property {LogPlace} [log]
 * @property {string} [home] The domain of the space's home server, if whoever let us in named it.
 */

/**
 * What every function about sharing is given.
 *
 * `change` reads, changes and writes the state of one space in one step that nothing else comes between: it
 * calls `fn` with the state as it is now (null: none yet) and resolves to what `fn` returned once that is
 * kept for good. `fn` is synchronous and may throw: then nothing is changed and `change` rejects with its
 * error.
 *
 * @typedef {object} Ctx
 * @property {import("../sync_client.js").SyncClient} client
 * @property {import("../keys.js").DeviceKey} device
 * @property {() => number} now Unix seconds, perhaps with a fraction.
 * @property {() => Promise<SharedState | null>} load
 * @property {(fn: (state: SharedState | null) => SharedState) => Promise<SharedState>} change
 * @property {(former: SharedState) => Promise<void>} [keep] Keeps access that is about to be replaced, in
 *   case it is wanted again.
 */

/** Epochs whose keys one state may hold. */
export const EPOCH_KEYS_MAX = 4096;

/** Tokens that one state may note as handed out. */
export const DELEGATIONS_MAX = 10_000;

/**
 * What a UCAN says about its holder.
 *
 * @typedef {object} Grant
 * @property {string} ucan
 * @property {string} cid
 * @property {string} audience The holder's DID.
 * @property {Permission} permission
 * @property {number} expiresAt Unix seconds.
 * @property {string} space
 */

/** @typedef {import("../ucan.js").Permission} Permission */

/**
 * Read what a UCAN grants.
 *
 * @param {string} ucan
 * @returns {Promise<Grant>}
 * @throws {LessSyncError} It cannot be read, or grants nothing this version knows.
 */
export async function grantOf(ucan) {
  const { cid, audience, permission, expiresAt, resource } = await parseUcan(ucan);
  if (!permission) throw new Refused("unknown_permission", "unknown command");
  const space = resource.replace(/^space:/, "");
  return { ucan, cid, audience: audience ?? "", permission, expiresAt, space };
}

/**
 * The key of an epoch, if it is known.
 *
 * @param {Pick<SharedState, "keys">} state
 * @param {number} epoch
 * @returns {Uint8Array | undefined}
 */
export function keyOf({ keys }, epoch) {
  const text = Object.hasOwn(keys, epoch) ? keys[epoch] : undefined;
  return text === undefined ? undefined : fromB64(text);
}

/**
 * The epochs whose keys are known, ascending.
 *
 * @param {Pick<SharedState, "keys">} state
 * @returns {number[]}
 */
export function epochsOf({ keys }) {
  return Object.keys(keys).map(Number).sort((a, b) => a - b);
}

/**
 * The keys of a state as those who seal and open records take them.
 *
 * @param {SharedState} state
 * @returns {SpaceKeys}
 */
export function spaceKeysOf(state) {
  return SpaceKeys.shared(keyMap(state), state.space);
}

/**
 * The keys of a state by epoch.
 *
 * @param {Pick<SharedState, "keys">} state
 * @returns {Map<number, Uint8Array>}
 */
export function keyMap({ keys }) {
  return new Map(Object.entries(keys).map(([epoch, key]) => [Number(epoch), fromB64(key)]));
}

/**
 * Keys as a state holds them.
 *
 * @param {Iterable<[number, Uint8Array]>} keys
 * @returns {Record<string, string>}
 */
export function keptKeys(keys) {
  return Object.fromEntries([...keys].map(([epoch, key]) => [String(epoch), b64(key)]));
}

/**
 * The same state with more keys; those already known stay.
 *
 * @param {SharedState} state
 * @param {Record<string, string>} keys
 * @returns {SharedState}
 */
export function withKeys(state, keys) {
  return { ...state, keys: { ...keys, ...state.keys } };
}

/**
 * The place in the log that is further on.
 *
 * @param {LogPlace} [one]
 * @param {LogPlace} [other]
 * @returns {LogPlace}
 */
export function further(one = {}, other = {}) {
  return (other.entries ?? 0) > (one.entries ?? 0) ? other : one;
}

/**
 * A state that is there.
 *
 * @param {SharedState | null} state
 * @returns {SharedState}
 * @throws {Refused} `not_shared`: it is not, or no longer, that of a shared space. `newer_version`: a newer app
 *   has written it.
 */
export function present(state) {
  if (!state) throw new Refused("not_shared", "the space is not kept here");
  if ((state.v ?? 1) !== 1) throw new Refused("newer_version", "a newer app keeps the space here");
  return state;
}

/**
 * What is kept of the space, whose token must be ours.
 *
 * @param {Ctx} ctx
 * @returns {Promise<{state: SharedState, grant: Grant}>}
 * @throws {Refused} `not_shared`, or `another_person`.
 */
export async function bound(ctx) {
  const state = present(await ctx.load());
  const grant = await grantOf(state.ucan);
  if (grant.audience !== ctx.device.did) {
    throw new Refused("another_person", "the access here is somebody else's");
  }
  return { state, grant };
}
