/**
 * Access as it is now, and whether the other members could be told.
 *
 * @typedef {object} Entered
 * @property {SharedState} state
 * @property {boolean} told False for who may only read, and where it failed: we are in nonetheless.
 */
/**
 * Open a bundle with the device's key, keep what is in it, and tell the members if we may.
 *
 * @param {Ctx} ctx Of the bundle's space: `openBundle` tells which.
 * @param {string} text
 * @param {{force?: boolean}} [options] As of `enter`.
 * @returns {Promise<Entered>}
 * @throws {Refused} as `openBundle` and `enter`.
 */
export function join(ctx: Ctx, text: string, options?: {
    force?: boolean;
}): Promise<Entered>;
/**
 * Take over the access in an opened bundle.
 *
 * Without `force`, access that there is already is replaced only by what comes from the same root key and
 * gives the same person as much for as long, or anything when it has ended.
 *
 * @param {Ctx} ctx
 * @param {Bundle} bundle
 * @param {{force?: boolean}} [options]
 * @returns {Promise<SharedState>}
 * @throws {Refused} `another_space`, `another_person`, `another_root` or `access_is_better`: nothing was
 *   changed.
 */
export function enter(ctx: Ctx, bundle: Bundle, { force }?: {
    force?: boolean;
}): Promise<SharedState>;
/**
 * Give ourselves a new token from the root key of the space, and tell the members.
 *
 * The keys of the space come from what is kept: no root key opens anything.
 *
 * @param {Ctx} ctx
 * @param {import("../keys.js").DeviceKey} root
 * @param {{known?: SharedState[]}} [options] States of the space that were kept otherwise (`ctx.keep`).
 * @returns {Promise<Entered>}
 * @throws {Refused} `no_keys`: nothing is known here of the space; join with a bundle of any member first.
 *   `another_root`: it is not the root key of this space.
 */
export function recover(ctx: Ctx, root: import("../keys.js").DeviceKey, { known }?: {
    known?: SharedState[];
}): Promise<Entered>;
/**
 * Access as it is now, and whether the other members could be told.
 */
export type Entered = {
    state: SharedState;
    /**
     * False for who may only read, and where it failed: we are in nonetheless.
     */
    told: boolean;
};
export type Bundle = import("./bundle.js").Bundle;
export type Ctx = import("./state.js").Ctx;
export type Grant = import("./state.js").Grant;
export type SharedState = import("./state.js").SharedState;
