/**
 * Who is to be let in, to do what, until when.
 *
 * @typedef {object} Invitee
 * @property {string} did
 * @property {Permission} [permission] `write` unless given.
 * @property {number} [expiresAt] Unix seconds; 90 days from now unless given, and never after our own token
 *   ends.
 */
/**
 * Let the device's owner administer a space in the name of its root key.
 *
 * @param {Ctx} ctx
 * @param {DeviceKey} root
 * @param {string} space
 * @returns {Promise<string>} A UCAN.
 */
export function rootGrant(ctx: Ctx, root: DeviceKey, space: string): Promise<string>;
/**
 * Make a shared space on the server and keep its state. Nothing of the root key is sent but its public half.
 *
 * If it breaks off before the state is kept, the server has a space that nobody can use; begin with another
 * id.
 *
 * @param {Ctx} ctx Of a space of which nothing is kept yet.
 * @param {{space?: string, root?: DeviceKey}} [options] `root`: keep it before you call this if you want to
 *   be able to `recover`; without one the root key is thrown away at the end.
 * @returns {Promise<SharedState>}
 * @throws {Refused} `shared_already`: there is a state.
 */
export function createSpace(ctx: Ctx, { space, root }?: {
    space?: string;
    root?: DeviceKey;
}): Promise<SharedState>;
/**
 * Delegate from our own UCAN and resolve to the bundle for the invitee. Needs no server.
 *
 * @param {Ctx} ctx
 * @param {Invitee} invitee
 * @returns {Promise<string>}
 * @throws {Refused} `bad_did`, `not_allowed` (more than we may do ourselves) or `too_many_tokens`.
 */
export function inviteToken(ctx: Ctx, invitee: Invitee): Promise<string>;
/**
 * Make a UCAN for the invitee and note it in the state, before anybody can have it.
 *
 * @param {Ctx} ctx
 * @param {Invitee} invitee
 * @returns {Promise<string>}
 * @throws {Refused} as `inviteToken`.
 */
export function delegated(ctx: Ctx, { did, permission, expiresAt }: Invitee): Promise<string>;
/**
 * Forget a UCAN that was noted and that nobody was given.
 *
 * @param {Ctx} ctx
 * @param {string} ucan
 * @returns {Promise<void>}
 */
export function withdraw(ctx: Ctx, ucan: string): Promise<void>;
/**
 * Take back every token that was handed out from here to a person. They are cut off at once, and so is
 * everybody they let in; `rotate` with `remove` also keeps what is written from then on unreadable to them.
 *
 * @param {Ctx} ctx
 * @param {string} did
 * @returns {Promise<string[]>} CIDs of the tokens.
 * @throws {Refused} `nothing_to_revoke`: no token for that DID was made here, or all are revoked already.
 */
export function revoke(ctx: Ctx, did: string): Promise<string[]>;
/**
 * Take tokens back, wherever they were made, and say so in the log.
 *
 * Each is noted once the server has done it, and revoking again does no harm: after a break, begin anew.
 *
 * @param {Ctx} ctx
 * @param {string[]} cids Or bundles.
 * @returns {Promise<void>}
 */
export function revokeTokens(ctx: Ctx, cids: string[]): Promise<void>;
/**
 * The same state in which some tokens are marked as revoked.
 *
 * @param {SharedState} state
 * @param {(note: import("./state.js").Delegation) => boolean} which
 * @returns {SharedState}
 */
export function markedRevoked(state: SharedState, which: (note: import("./state.js").Delegation) => boolean): SharedState;
/** Of a token that is handed out, unless another end is asked for. */
export const INVITED_LIFE_S: number;
/**
 * Who is to be let in, to do what, until when.
 */
export type Invitee = {
    did: string;
    /**
     * `write` unless given.
     */
    permission?: import("../ucan.js").Permission | undefined;
    /**
     * Unix seconds; 90 days from now unless given, and never after our own token
     * ends.
     */
    expiresAt?: number | undefined;
};
export type Ctx = import("./state.js").Ctx;
export type Permission = import("./state.js").Permission;
export type SharedState = import("./state.js").SharedState;
import { DeviceKey } from "../keys.js";
