/**
 * How a rotation ended.
 *
 * @typedef {object} Rotated
 * @property {number} epoch The space's.
 * @property {string[]} undecryptable Ids of records and files that nobody here can open: they keep their
 *   keys.
 */
/**
 * Give the space a new key, and remove members on the way. Goes on with a rotation that was interrupted.
 *
 * @param {Ctx} ctx
 * @param {object} [options]
 * @param {string[]} [options.remove] DIDs.
 * @param {(name: string) => void | Promise<void>} [options.onStep] Told before each change of the server.
 * @returns {Promise<Rotated>}
 * @throws {Refused} `not_allowed`, `bad_did`, `remove_oneself`: nothing was changed. `key_missing`: a key was
 *   not given to us. `rotation_busy`: others rotate at the same time. `files_left` (`FilesLeft`): the new key
 *   is in use; what is left to do takes a token with the scope `files`.
 * @throws {LessSyncError} The server refuses, or is gone: run it again.
 */
export function rotate(ctx: Ctx, { remove, onStep }?: {
    remove?: string[] | undefined;
    onStep?: ((name: string) => void | Promise<void>) | undefined;
}): Promise<Rotated>;
/** @typedef {import("./entries.js").Entry} Entry */
/** @typedef {import("./log.js").MemberLog} MemberLog */
/** @typedef {import("./log_access.js").Standing} Standing */
/** @typedef {import("./state.js").Ctx} Ctx */
/** @typedef {import("./state.js").SharedState} SharedState */
/** How often it is looked where the space stands, when others rotate too. */
export const ROUNDS_MAX: 12;
/**
 * How a rotation ended.
 */
export type Rotated = {
    /**
     * The space's.
     */
    epoch: number;
    /**
     * Ids of records and files that nobody here can open: they keep their
     * keys.
     */
    undecryptable: string[];
};
export type Entry = import("./entries.js").Entry;
export type MemberLog = import("./log.js").MemberLog;
export type Standing = import("./log_access.js").Standing;
export type Ctx = import("./state.js").Ctx;
export type SharedState = import("./state.js").SharedState;
