/**
 * Making a shared space, letting people in by a bundle, and taking tokens back.
 *
 * What was handed out is noted in the state before anybody can have it, so that it can be taken back.
 *
 * @module
 */
import { b64, randomBytes, randomUuid } from "../bytes.js";
import { decodeDid } from "../did.js";
import { Refused } from "../errors.js";
import { DeviceKey } from "../keys.js";
import { covers, delegate, issueRoot, ucanCid } from "../ucan.js";
import { bundledUcan, isBundle, makeBundle } from "./bundle.js";
import { noteRemoval } from "./log_access.js";
import { DELEGATIONS_MAX, bound, grantOf, present } from "./state.js";

/** @typedef {import("./state.js").Ctx} Ctx */
/** @typedef {import("./state.js").Permission} Permission */
/** @typedef {import("./state.js").SharedState} SharedState */

/** Of the token that a space's creator gives to themselves: the root key could make another anyway. */
const OWN_LIFE_S = 10 * 365 * 86_400;
/** Of a token that is handed out, unless another end is asked for. */
export const INVITED_LIFE_S = 90 * 86_400;

const KEY_BYTES = 32;

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
export function rootGrant(ctx, root, space) {
  const expiresAt = Math.floor(ctx.now()) + OWN_LIFE_S;
  return issueRoot(root, { space, to: ctx.device.did, permission: "admin", expiresAt });
}

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
export async function createSpace(ctx, { space = randomUuid(), root } = {}) {
  if ((await ctx.load()) !== null) throw alreadyShared();
  const key = root ?? (await DeviceKey.generate());
  const ucan = await rootGrant(ctx, key, space);
  const keys = { 1: b64(randomBytes(KEY_BYTES)) };
  await ctx.client.spaceCreate(space, decodeDid(key.did).compressed);
  return ctx.change((now) => {
    if (now) throw alreadyShared();
    return { v: 1, space, ucan, keys };
  });
}

function alreadyShared() {
  return new Refused("shared_already", "the space is kept here already");
}

/**
 * Delegate from our own UCAN and resolve to the bundle for the invitee. Needs no server.
 *
 * @param {Ctx} ctx
 * @param {Invitee} invitee
 * @returns {Promise<string>}
 * @throws {Refused} `bad_did`, `not_allowed` (more than we may do ourselves) or `too_many_tokens`.
 */
export async function inviteToken(ctx, invitee) {
  const ucan = await delegated(ctx, invitee);
  return makeBundle(ucan, present(await ctx.load()), ctx.device);
}

/**
 * Make a UCAN for the invitee and note it in the state, before anybody can have it.
 *
 * @param {Ctx} ctx
 * @param {Invitee} invitee
 * @returns {Promise<string>}
 * @throws {Refused} as `inviteToken`.
 */
export async function delegated(ctx, { did, permission = "write", expiresAt }) {
  decodeDid(did);
  const { grant } = await bound(ctx);
  if (!covers(grant.permission, permission)) {
    throw new Refused("not_allowed", `you have ${grant.permission}, not ${permission}`);
  }
  const wanted = Math.floor(expiresAt ?? ctx.now() + INVITED_LIFE_S);
  const ucan = await delegate(grant.ucan, ctx.device, { to: did, permission, expiresAt: wanted });
  const { cid, expiresAt: until } = await grantOf(ucan);
  await ctx.change((now) => {
    const state = present(now);
    const former = state.delegated ?? [];
    if (former.length >= DELEGATIONS_MAX) throw new Refused("too_many_tokens", "too many tokens");
    return { ...state, delegated: [...former, { did, cid, permission, expires_at: until }] };
  });
  return ucan;
}

/**
 * Forget a UCAN that was noted and that nobody was given.
 *
 * @param {Ctx} ctx
 * @param {string} ucan
 * @returns {Promise<void>}
 */
export async function withdraw(ctx, ucan) {
  const cid = await ucanCid(ucan);
  await ctx.change((now) => {
    const state = present(now);
    return { ...state, delegated: (state.delegated ?? []).filter((note) => note.cid !== cid) };
  });
}

/**
 * Take back every token that was handed out from here to a person. They are cut off at once, and so is
 * everybody they let in; `rotate` with `remove` also keeps what is written from then on unreadable to them.
 *
 * @param {Ctx} ctx
 * @param {string} did
 * @returns {Promise<string[]>} CIDs of the tokens.
 * @throws {Refused} `nothing_to_revoke`: no token for that DID was made here, or all are revoked already.
 */
export async function revoke(ctx, did) {
  const { state } = await bound(ctx);
  const good = (state.delegated ?? []).filter((note) => note.did === did && !note.revoked);
  const cids = good.map((note) => note.cid);
  if (!cids.length) throw new Refused("nothing_to_revoke", "no token was made here");
  await revokeTokens(ctx, cids);
  return cids;
}

/**
 * Take tokens back, wherever they were made, and say so in the log.
 *
 * Each is noted once the server has done it, and revoking again does no harm: after a break, begin anew.
 *
 * @param {Ctx} ctx
 * @param {string[]} cids Or bundles.
 * @returns {Promise<void>}
 */
export async function revokeTokens(ctx, cids) {
  const { state } = await bound(ctx);
  const named = await Promise.all(cids.map(cidOf));
  for (const cid of named) {
    await ctx.client.membershipRevoke(state.space, cid, { ucan: state.ucan });
    await ctx.change((now) => markedRevoked(present(now), (note) => note.cid === cid));
  }
  await noteRemoval(ctx, named);
}

/** @param {string} text A CID or a bundle. */
async function cidOf(text) {
  return isBundle(text) ? ucanCid(await bundledUcan(text)) : text.trim().toLowerCase();
}

/**
 * The same state in which some tokens are marked as revoked.
 *
 * @param {SharedState} state
 * @param {(note: import("./state.js").Delegation) => boolean} which
 * @returns {SharedState}
 */
export function markedRevoked(state, which) {
  if (!state.delegated?.some(which)) return state;
  const delegated = state.delegated.map((note) => (which(note) ? { ...note, revoked: true } : note));
  return { ...state, delegated };
}
