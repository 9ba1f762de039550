/**
 * Who is in a shared space, and letting people in through their mailboxes.
 *
 * @module
 */
import { BUNDLE_CHARS_MAX, makeBundle, openBundle } from "./bundle.js";
import { enter } from "./entering.js";
import { isElsewhere, noteMember, readLog, standing } from "./log_access.js";
import { delegated, withdraw } from "./spaces.js";
import { bound, grantOf } from "./state.js";

/** @typedef {import("./state.js").Ctx} Ctx */
/** @typedef {import("./state.js").Permission} Permission */
/** @typedef {import("./state.js").SharedState} SharedState */

/** At most 20 invitations of 128 KiB fit into a frame. */
const MAILBOX_PAGE = 20;
/** Messages that are looked at in one go. */
export const MAILBOX_MAX = 1000;

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
export async function members(ctx) {
  const { grant } = await bound(ctx);
  const { log, state } = await readLog(ctx, (await standing(ctx, grant.ucan)).epoch);
  const you = ctx.device.did;
  const found = [...log.members.values()].map(({ did, permission, expiresAt }) => {
    return { did, permission, expiresAt, you: did === you, invited: false };
  });
  const noted = (state.delegated ?? []).filter((note) => {
    return !note.revoked && !log.members.has(note.did) && !log.revoked.has(note.cid);
  });
  const invited = noted.map(({ did, permission, expires_at: expiresAt }) => {
    return { did, permission, expiresAt, you: did === you, invited: true };
  });
  return { members: [...found, ...invited], passedOver: log.passedOver };
}

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
export async function invite(ctx, { mailbox, ...invitee }) {
  const ucan = await delegated(ctx, invitee);
  const state = await noted(ctx, ucan);
  return ctx.client.invitationCreate(mailbox, await makeBundle(ucan, state, ctx.device));
}

/**
 * Have a new UCAN in the log, and resolve to what there is to know of the space by then.
 *
 * @param {Ctx} ctx
 * @param {string} ucan
 */
async function noted(ctx, ucan) {
  try {
    return await noteMember(ctx, ucan);
  } catch (error) {
    // Only the home of a space takes entries, so nobody was given this token.
    if (isElsewhere(error)) await withdraw(ctx, ucan);
    throw error;
  }
}

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
export async function mailbox(ctx) {
  /** @type {Waiting[]} */
  const waiting = [];
  let others = 0;
  for (let after = ""; waiting.length + others < MAILBOX_MAX; ) {
    const page = await ctx.client.invitationList({ limit: MAILBOX_PAGE, after });
    for (const { id, payload } of page) {
      const opened = await openWaiting(ctx, id, payload);
      if (opened) waiting.push(opened);
      else others += 1;
    }
    const last = page.at(-1);
    if (!last) break;
    after = last.id;
  }
  return { waiting, others };
}

/**
 * @param {Pick<Ctx, "device" | "now">} ctx
 * @param {string} id
 * @param {string} payload
 * @returns {Promise<Waiting | null>}
 */
async function openWaiting(ctx, id, payload) {
  if (payload.length > BUNDLE_CHARS_MAX) return null;
  const bundle = await openBundle(payload, ctx.device, ctx.now()).catch(() => null);
  if (!bundle) return null;
  const { permission, expiresAt } = await grantOf(bundle.ucan);
  return { id, space: bundle.space, permission, expiresAt, from: bundle.token.issuer, bundle };
}

/**
 * Enter the space of an invitation in our mailbox and remove it from there.
 *
 * @param {Ctx} ctx Of the invitation's space.
 * @param {Waiting} waiting As `mailbox` gave it.
 * @param {{force?: boolean}} [options] As of `enter`.
 * @returns {Promise<SharedState>}
 * @throws {Refused} as `enter`.
 */
export async function accept(ctx, { bundle }, options = {}) {
  const state = await enter(ctx, bundle, options);
  // Only now: a crash before it leaves the invitation where it is, and accepting again does no harm.
  const { waiting } = await mailbox(ctx);
  for (const one of waiting) {
    if (one.bundle.ucan === bundle.ucan) await ctx.client.invitationDelete(one.id);
  }
  return state;
}
