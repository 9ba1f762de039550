/**
 * How somebody comes by their access to a space, and does not lose a better one.
 *
 * @module
 */
import { equal } from "../bytes.js";
import { decodeDid } from "../did.js";
import { LessSyncError, Refused } from "../errors.js";
import { covers, parseChain } from "../ucan.js";
import { openBundle } from "./bundle.js";
import { noteMember } from "./log_access.js";
import { rootGrant } from "./spaces.js";
import { further, grantOf, withKeys } from "./state.js";

/** @typedef {import("./bundle.js").Bundle} Bundle */
/** @typedef {import("./state.js").Ctx} Ctx */
/** @typedef {import("./state.js").Grant} Grant */
/** @typedef {import("./state.js").SharedState} SharedState */

/** How often it is looked again when something else replaces the access at the same time. */
const REPLACE_ATTEMPTS = 8;

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
export async function join(ctx, text, options = {}) {
  const state = await enter(ctx, await openBundle(text, ctx.device, ctx.now()), options);
  return { state, told: await toldMembers(ctx, state) };
}

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
export async function enter(ctx, bundle, { force = false } = {}) {
  const { space, ucan, keys, log, home } = bundle;
  /** @type {SharedState} */
  const joined = { v: 1, space, ucan, keys, ...(log.entries && { log }), ...(home && { home }) };
  return replaced(ctx, ucan, async (former) => {
    if (!former) return () => joined;
    if (former.space !== space) throw anotherSpace();
    if (!force) await checkBetter(former.ucan, ucan, ctx.now());
    const given = await grantOf(former.ucan);
    return (now) => {
      const { log: read, ...made } = withKeys(ofPerson(ctx, given, now ?? former, ucan), keys);
      const place = force ? log : further(read, log);
      return { ...made, ...(place.entries && { log: place }), ...(home && { home }) };
    };
  });
}

function anotherSpace() {
  return new Refused("another_space", "this is another space");
}

/**
 * Replace the access that is kept. What it is replaced by is decided for the token that is kept at that
 * moment.
 *
 * @param {Ctx} ctx
 * @param {string} ucan The new one.
 * @param {(former: SharedState | null) => Promise<(now: SharedState | null) => SharedState>} decide
 */
async function replaced(ctx, ucan, decide) {
  for (let attempt = 0; attempt < REPLACE_ATTEMPTS; attempt++) {
    const former = await ctx.load();
    const make = await decide(former);
    if (former && former.ucan !== ucan) await ctx.keep?.(former);
    let moved = false;
    const state = await ctx.change((now) => {
      moved = now?.ucan !== former?.ucan;
      return moved && now ? now : make(now);
    });
    if (!moved) return state;
  }
  throw new Refused("access_busy", "the access changes too fast: try again");
}

/**
 * @param {string} formerUcan
 * @param {string} newUcan
 * @param {number} now
 */
async function checkBetter(formerUcan, newUcan, now) {
  const [former, given] = await Promise.all([grantOf(formerUcan), grantOf(newUcan)]);
  if (former.audience !== given.audience) {
    throw new Refused("another_person", "the access here is somebody else's; `force` replaces it");
  }
  if (!equal(await rootOf(formerUcan), await rootOf(newUcan))) {
    throw new Refused("another_root", "the access here is of another root key; `force` replaces it");
  }
  if (former.expiresAt < now) return;
  if (!covers(given.permission, former.permission) || given.expiresAt < former.expiresAt) {
    throw new Refused("access_is_better", "the access here is better; `force` replaces it");
  }
}

/** @param {string} ucan */
async function rootOf(ucan) {
  const { links } = await parseChain(ucan);
  return /** @type {import("../ucan.js").Ucan} */ (links.at(-1)).issuerKey;
}

/**
 * The same with a token for this person. What somebody else handed out and has begun is not theirs.
 *
 * @param {Ctx} ctx
 * @param {Grant} given Of the former token.
 * @param {SharedState} former
 * @param {string} ucan
 * @returns {SharedState}
 */
function ofPerson(ctx, given, former, ucan) {
  if (given.audience === ctx.device.did) return { ...former, ucan };
  const { delegated, rotation, ...rest } = former;
  return { ...rest, ucan };
}

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
export async function recover(ctx, root, { known = [] } = {}) {
  const current = await ctx.load();
  const all = [...(current ? [current] : []), ...known];
  const [first] = all;
  if (!first) throw new Refused("no_keys", "no keys of the space are kept here");
  const same = all.filter((one) => one.space === first.space);
  const roots = await Promise.all(same.map((one) => rootOf(one.ucan)));
  const own = decodeDid(root.did).compressed;
  if (!roots.some((one) => equal(one, own))) {
    throw new Refused("another_root", "not the space's root key");
  }
  const ucan = await rootGrant(ctx, root, first.space);
  const state = await replaced(ctx, ucan, async (former) => recovering(ctx, former ?? first, same, ucan));
  return { state, told: await toldMembers(ctx, state) };
}

/**
 * @param {Ctx} ctx
 * @param {SharedState} former
 * @param {SharedState[]} known
 * @param {string} ucan
 * @returns {Promise<(now: SharedState | null) => SharedState>}
 */
async function recovering(ctx, former, known, ucan) {
  const given = await grantOf(former.ucan);
  const audiences = await Promise.all(known.map(async (one) => (await grantOf(one.ucan)).audience));
  const ours = known.filter((_, index) => audiences[index] === ctx.device.did);
  return (now) => {
    const own = ofPerson(ctx, given, now ?? former, ucan);
    const made = known.reduce((state, one) => withKeys(state, one.keys), own);
    const delegated = [made, ...ours].map((one) => one.delegated ?? []).find((notes) => notes.length);
    return delegated ? { ...made, delegated } : made;
  };
}

/**
 * @param {Ctx} ctx
 * @param {SharedState} state
 */
async function toldMembers(ctx, { ucan }) {
  if ((await grantOf(ucan)).permission === "read") return false;
  try {
    await noteMember(ctx, ucan);
    return true;
  } catch (error) {
    if (!(error instanceof LessSyncError)) throw error;
    return false;
  }
}
