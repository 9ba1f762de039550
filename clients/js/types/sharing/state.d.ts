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
export function grantOf(ucan: string): Promise<Grant>;
/**
 * The key of an epoch, if it is known.
 *
 * @param {Pick<SharedState, "keys">} state
 * @param {number} epoch
 * @returns {Uint8Array | undefined}
 */
export function keyOf({ keys }: Pick<SharedState, "keys">, epoch: number): Uint8Array | undefined;
/**
 * The epochs whose keys are known, ascending.
 *
 * @param {Pick<SharedState, "keys">} state
 * @returns {number[]}
 */
export function epochsOf({ keys }: Pick<SharedState, "keys">): number[];
/**
 * The keys of a state as those who seal and open records take them.
 *
 * @param {SharedState} state
 * @returns {SpaceKeys}
 */
export function spaceKeysOf(state: SharedState): SpaceKeys;
/**
 * The keys of a state by epoch.
 *
 * @param {Pick<SharedState, "keys">} state
 * @returns {Map<number, Uint8Array>}
 */
export function keyMap({ keys }: Pick<SharedState, "keys">): Map<number, Uint8Array>;
/**
 * Keys as a state holds them.
 *
 * @param {Iterable<[number, Uint8Array]>} keys
 * @returns {Record<string, string>}
 */
export function keptKeys(keys: Iterable<[number, Uint8Array]>): Record<string, string>;
/**
 * The same state with more keys; those already known stay.
 *
 * @param {SharedState} state
 * @param {Record<string, string>} keys
 * @returns {SharedState}
 */
export function withKeys(state: SharedState, keys: Record<string, string>): SharedState;
/**
 * The place in the log that is further on.
 *
 * @param {LogPlace} [one]
 * @param {LogPlace} [other]
 * @returns {LogPlace}
 */
export function further(one?: LogPlace, other?: LogPlace): LogPlace;
/**
 * A state that is there.
 *
 * @param {SharedState | null} state
 * @returns {SharedState}
 * @throws {Refused} `not_shared`: it is not, or no longer, that of a shared space. `newer_version`: a newer app
 *   has written it.
 */
export function present(state: SharedState | null): SharedState;
/**
 * What is kept of the space, whose token must be ours.
 *
 * @param {Ctx} ctx
 * @returns {Promise<{state: SharedState, grant: Grant}>}
 * @throws {Refused} `not_shared`, or `another_person`.
 */
export function bound(ctx: Ctx): Promise<{
    state: SharedState;
    grant: Grant;
}>;
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
export const EPOCH_KEYS_MAX: 4096;
/** Tokens that one state may note as handed out. */
export const DELEGATIONS_MAX: 10000;
/**
 * What a UCAN says about its holder.
 */
export type Grant = {
    ucan: string;
    cid: string;
    /**
     * The holder's DID.
     */
    audience: string;
    permission: Permission;
    /**
     * Unix seconds.
     */
    expiresAt: number;
    space: string;
};
export type Permission = import("../ucan.js").Permission;
/**
 * One UCAN that was handed out from here.
 */
export type Delegation = {
    did: string;
    cid: string;
    permission: Permission;
    /**
     * Unix seconds.
     */
    expires_at: number;
    revoked?: boolean | undefined;
};
/**
 * A rotation of the keys that is under way: since which epoch, and who is to be removed by it.
 */
export type Rotation = {
    from_epoch: number;
    remove?: string[] | undefined;
};
/**
 * How far a membership log was read: a log that is no continuation of it is not the space's.
 */
export type LogPlace = {
    entries?: number | undefined;
    /**
     * Base64.
     */
    digest?: string | undefined;
};
/**
 * What a member knows: the same JSON as `.less-sync/shared.json` of a folder (docs/sharing.md). It holds
 * secrets, so it is neither printed nor logged.
 */
export type SharedState = {
    /**
     * 1 where it is missing.
     */
    v?: 1 | undefined;
    /**
     * Hyphenated, lower case.
     */
    space: string;
    /**
     * The token that lets us in.
     */
    ucan: string;
    /**
     * Epoch to base64 of 32 bytes; the lowest also derives record ids.
     */
    keys: Record<string, string>;
    delegated?: Delegation[] | undefined;
    /**
     * Not yet completed; `rotate` goes on with it.
     */
    rotation?: Rotation | undefined;
    log?: LogPlace | undefined;
    /**
     * The domain of the space's home server, if whoever let us in named it.
     */
    home?: string | undefined;
};
/**
 * What every function about sharing is given.
 *
 * `change` reads, changes and writes the state of one space in one step that nothing else comes between: it
 * calls `fn` with the state as it is now (null: none yet) and resolves to what `fn` returned once that is
 * kept for good. `fn` is synchronous and may throw: then nothing is changed and `change` rejects with its
 * error.
 */
export type Ctx = {
    client: import("../sync_client.js").SyncClient;
    device: import("../keys.js").DeviceKey;
    /**
     * Unix seconds, perhaps with a fraction.
     */
    now: () => number;
    load: () => Promise<SharedState | null>;
    change: (fn: (state: SharedState | null) => SharedState) => Promise<SharedState>;
    /**
     * Keeps access that is about to be replaced, in
     * case it is wanted again.
     */
    keep?: ((former: SharedState) => Promise<void>) | undefined;
};
import { SpaceKeys } from "../space_keys.js";
