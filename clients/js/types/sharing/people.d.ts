/**
 * Somebody who is in, or was invited from here and has not joined yet.
 *
 * @typedef {object} Person
 * @property {string} did
 * @property {Permission} permission
 * @property {number} expiresAt Unix seconds.
 * @property {boolean} you
 * @property {boolean} invited Known only from here, not by the log.
 */
/**
 * Tell who is in the space, by its log and by the tokens made here.
 *
 * @param {Ctx} ctx
 * @returns {Promise<{members: Person[], passedOver: number}>} `passedOver`: entries of the log that are
 *   unreadable, or that nobody allowed wrote.
 * @throws {AccessLost} The space does not let us in any more.
 * @throws {Refused} `log_broken` or `log_not_continued`.
 */
export function members(ctx: Ctx): Promise<{
    members: Person[];
    passedOver: number;
}>;
/**
 * Note a new member in the log and leave the bundle in their mailbox.
 *
 * The log entry comes first, and on top of all that was read: whoever rotates the keys after it gives the new
 * one to the invitee too, and every key from before it is in the bundle.
 *
 * @param {Ctx} ctx
 * @param {import("./spaces.js").Invitee & {mailbox: string}} invitee `mailbox`: the id of theirs.
 * @returns {Promise<{id: string, expires_at: string}>} The invitation, as the server has it.
 * @throws {Refused} `bad_did`, `not_allowed`, `not_believed` ...
 */
export function invite(ctx: Ctx, { mailbox, ...invitee }: import("./spaces.js").Invitee & {
    mailbox: string;
}): Promise<{
    id: string;
    expires_at: string;
}>;
/**
 * An invitation in our mailbox that opens with our key.
 *
 * @typedef {object} Waiting
 * @property {string} id
 * @property {string} space
 * @property {Permission} permission
 * @property {number} expiresAt When the token in it ends, Unix seconds.
 * @property {string} from The DID of who sent it.
 * @property {import("./bundle.js").Bundle} bundle
 */
/**
 * What waits in our mailbox and opens, oldest first, and how many others there are.
 *
 * @param {Pick<Ctx, "client" | "device" | "now">} ctx
 * @returns {Promise<{waiting: Waiting[], others: number}>}
 */
export function mailbox(ctx: Pick<Ctx, "client" | "device" | "now">): Promise<{
    waiting: Waiting[];
    others: number;
}>;
/**
 * Enter the space of an invitation in our mailbox and remove it from there.
 *
 * @param {Ctx} ctx Of the invitation's space.
 * @param {Waiting} waiting As `mailbox` gave it.
 * @param {{force?: boolean}} [options] As of `enter`.
 * @returns {Promise<SharedState>}
 * @throws {Refused} as `enter`.
 */
export function accept(ctx: Ctx, { bundle }: Waiting, options?: {
    force?: boolean;
}): Promise<SharedState>;
/** Messages that are looked at in one go. */
export const MAILBOX_MAX: 1000;
/**
 * Somebody who is in, or was invited from here and has not joined yet.
 */
export type Person = {
    did: string;
    permission: Permission;
    /**
     * Unix seconds.
     */
    expiresAt: number;
    you: boolean;
    /**
     * Known only from here, not by the log.
     */
    invited: boolean;
};
/**
 * An invitation in our mailbox that opens with our key.
 */
export type Waiting = {
    id: string;
    space: string;
    permission: Permission;
    /**
     * When the token in it ends, Unix seconds.
     */
    expiresAt: number;
    /**
     * The DID of who sent it.
     */
    from: string;
    bundle: import("./bundle.js").Bundle;
};
export type Ctx = import("./state.js").Ctx;
export type Permission = import("./state.js").Permission;
export type SharedState = import("./state.js").SharedState;
