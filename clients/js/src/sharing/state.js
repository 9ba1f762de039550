/**
 * What somebody knows of a shared space, and what the functions about sharing work with.
 *
 * @module
 */
import { fromB64, b64 } from "../bytes.js";
import { parseUcan } from "../ucan.js";

/**
 * One UCAN that was handed out from here.
 *
 * @typedef {object} Delegation
 * @property {string} did
 * @property {string} cid
 * @property {"read" | "write" | "admin"} permission
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
 * @property {1} v
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
 * calls `fn` with the state as it is now (null: none yet) and resolves to what `fn` returned once that is kept
 * for good. `fn` is synchronous and may throw: then nothing is changed and `change` rejects with its error.
 *
 * @typedef {object} Ctx
 * @property {import("../sync_client.js").SyncClient} client
 * @property {import("../keys.js").DeviceKey} device
 * @property {() => number} now Unix seconds, perhaps with a fraction.
 * @property {() => Promise<SharedState | null>} load
 * @property {(fn: (state: SharedState | null) => SharedState) => Promise<SharedState>} change
 * @property {(former: SharedState) => Promise<void>} [keep] Keeps access that is about to be replaced, in case
 *   it is wanted again.
 */

/** Epochs whose keys one state may hold. */
export const EPOCH_KEYS_MAX = 4096;

/** Tokens that one state may note as handed out. */
export const DELEGATIONS_MAX = 10_000;
