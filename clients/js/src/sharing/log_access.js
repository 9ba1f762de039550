/**
 * Reading the membership log from the server and appending to it, and what the server says of the space.
 *
 * @module
 */
import { b64, hex, sha256 } from "../bytes.js";
import { AccessLost, Refused, RequestFailed } from "../errors.js";
import { subscribed } from "../subscribing.js";
import { EPOCH, MEMBER, REMOVED, entryOf, sealEntry } from "./entries.js";
import { Reader } from "./log.js";
import { bound, epochsOf, further, grantOf, keptKeys, keyOf, present } from "./state.js";

/** @typedef {import("./state.js").Ctx} Ctx */
/** @typedef {import("./state.js").SharedState} SharedState */
/** @typedef {import("./log.js").MemberLog} MemberLog */
/** @typedef {import("./entries.js").Entry} Entry */

/** How often an entry is made anew when others write at the same time. */
export const APPEND_ATTEMPTS = 8;

/** With the largest proof beside them they can be signed. */
export const CIDS_PER_ENTRY = 400;

/**
 * Makes the next entry of the log as it is, or null if there is nothing to say.
 *
 * @callback Make
 * @param {MemberLog} log
 * @param {SharedState} state
 * @returns {Entry | null | Promise<Entry | null>}
 */

/**
 * A space as the server sees it: its epoch, the one whose rewrap is pending, and who is there.
 *
 * @typedef {object} Standing
 * @property {number} epoch
 * @property {number | null} pending
 * @property {import("../shapes.js").Peer[]} peers Who is present.
 */

/**
 * Ask the server in which epoch the space is, and hear of it from then on.
 *
 * @param {Pick<Ctx, "client" | "now">} ctx
 * @param {string} ucan
 * @returns {Promise<Standing>}
 * @throws {AccessLost} The space does not let us in (any more). Only this answer is believed about it: any
 *   other `forbidden` can be for want of a permission, or a passing fault.
 * @throws {RequestFailed} Any other refusal.
 */
export async function standing(ctx, ucan) {
  const { space, expiresAt } = await grantOf(ucan);
  // With presence, as an app subscribes: this answer is about the client's one subscription of the space.
  const lost = () => new AccessLost(ctx.now() > expiresAt ? "your access has ended" : "your access was revoked");
  const found = await subscribed(ctx.client, { id: space, ucan, presence: true }, lost);
  const { key_generation, rewrap_epoch = null, peers = [] } = found;
  return { epoch: Math.max(1, key_generation), pending: rewrap_epoch, peers };
}

/**
 * Read the log, and keep how far it went and the keys found in it of epochs that have begun.
 *
 * The key of an epoch that has not begun may yet be replaced by another, so it is not kept.
 *
 * @param {Ctx} ctx
 * @param {number} epoch The space's, by the server.
 * @returns {Promise<{log: MemberLog, state: SharedState, reader: Reader}>}
 * @throws {Refused} `log_broken`, `log_not_continued` or `not_shared`.
 */
export async function readLog(ctx, epoch) {
  const state = present(await ctx.load());
  const listed = await ctx.client.membershipList(state.space, { ucan: state.ucan });
  const reader = await Reader.of(state, ctx.device);
  const log = await reader.read(listed.entries, listed.metadata_version);
  log.epoch = epoch;
  const kept = keeping(state, log);
  if (JSON.stringify(kept) === JSON.stringify(state)) return { log, state, reader };
  return { log, state: await ctx.change((now) => keeping(present(now), log)), reader };
}

/**
 * @param {SharedState} state
 * @param {MemberLog} log
 * @returns {SharedState}
 */
function keeping(state, log) {
  const begun = keptKeys([...log.keys].filter(([epoch]) => epoch <= log.epoch));
  // A key of an epoch that has not begun follows the log: another one may count by now.
  const known = Object.entries(state.keys).map(([epoch, key]) => {
    const found = Number(epoch) > log.epoch ? log.keys.get(Number(epoch)) : undefined;
    return [epoch, found ? b64(found) : key];
  });
  const { entries, digest } = log.place;
  // Somebody else may have read further meanwhile.
  const place = further(state.log, { entries, digest: b64(digest) });
  return { ...state, keys: { ...begun, ...Object.fromEntries(known) }, ...(place.entries && { log: place }) };
}

/**
 * Append what `make` makes of the log as it is, or nothing if that is null; resolve to what it is then.
 *
 * The server takes an entry only on top of the log it was made of, so nothing comes between.
 *
 * @param {Ctx} ctx
 * @param {Make} make
 * @returns {Promise<{log: MemberLog, state: SharedState}>}
 * @throws {Refused} `not_believed`: the entry would not count. `log_busy`: others write all the time.
 * @throws {AccessLost} The space does not let us in any more.
 */
export async function appendEntry(ctx, make) {
  for (let attempt = 0; attempt < APPEND_ATTEMPTS; attempt++) {
    const { ucan } = present(await ctx.load());
    const { log, state, reader } = await readLog(ctx, (await standing(ctx, ucan)).epoch);
    const made = await make(log, state);
    if (!made) return { log, state };
    const entry = { ...made, after: hex(log.place.digest) };
    if (!(await reader.counts(entry))) throw notBelieved();
    if (!(await appended(ctx, entry, state, log))) continue;
    // The epoch is asked again: one that began meanwhile has a key that whoever we let in must be given.
    return readLog(ctx, (await standing(ctx, ucan)).epoch);
  }
  throw new Refused("log_busy", "the membership log changes too fast: try again");
}

/**
 * @param {Ctx} ctx
 * @param {Entry} entry
 * @param {SharedState} state
 * @param {MemberLog} log
 * @returns {Promise<boolean>} Whether it was the next one.
 */
async function appended(ctx, entry, state, log) {
  const payload = await sealEntry(entry, ctx.device, sealing(entry, state, log));
  try {
    const former = log.lastHash.length ? { prev_hash: log.lastHash } : {};
    const next = { expected_version: log.version, ...former, entry_hash: await sha256(payload), payload };
    await ctx.client.membershipAppend(state.space, next, { ucan: state.ucan });
    return true;
  } catch (error) {
    if (error instanceof RequestFailed && error.code === "conflict") return false;
    throw error;
  }
}

/**
 * The newest key that everybody has: not of an epoch that has not begun, nor of the one that an entry is
 * about.
 *
 * @param {Entry} entry
 * @param {SharedState} state
 * @param {MemberLog} log
 */
function sealing(entry, state, log) {
  const newest = entry.kind === EPOCH ? entry.epoch - 1 : Math.max(log.epoch, log.begun);
  const known = epochsOf(state);
  const epoch = known.findLast((one) => one <= newest) ?? /** @type {number} */ (known.at(-1));
  return { epoch, key: /** @type {Uint8Array} */ (keyOf(state, epoch)) };
}

function notBelieved() {
  return new Refused(
    "not_believed",
    "your access has ended, or was revoked",
  );
}

/**
 * An entry of ours; `appendEntry` gives it its place.
 *
 * @param {Ctx} ctx
 * @param {SharedState} state
 * @param {string} kind
 * @param {Partial<Entry>} [fields]
 * @returns {Entry}
 */
export function entryBy(ctx, state, kind, fields = {}) {
  const at = Math.floor(ctx.now());
  return entryOf({ kind, space: state.space, author: ctx.device.did, proof: state.ucan, at, ...fields });
}

/**
 * Have a member's UCAN in the log, unless it is there.
 *
 * @param {Ctx} ctx
 * @param {string} ucan
 * @returns {Promise<SharedState>} What there is to know of the space by then.
 * @throws {Refused} as `appendEntry`.
 */
export async function noteMember(ctx, ucan) {
  const { audience, cid } = await grantOf(ucan);
  const { state } = await appendEntry(ctx, (log, state) => {
    return log.members.get(audience)?.cids.includes(cid) ? null : entryBy(ctx, state, MEMBER, { ucan });
  });
  return state;
}

/**
 * Have the log say that these CIDs were revoked, unless it does.
 *
 * They must have been revoked at the server before: the epoch that it names then is one that nobody of them
 * can go beyond.
 *
 * @param {Ctx} ctx
 * @param {string[]} cids
 * @returns {Promise<void>}
 * @throws {Refused} as `appendEntry`.
 */
export async function noteRemoval(ctx, cids) {
  for (let start = 0; start === 0 || start < cids.length; start += CIDS_PER_ENTRY) {
    const some = cids.slice(start, start + CIDS_PER_ENTRY);
    await appendEntry(ctx, (log, state) => {
      return some.every((cid) => log.revoked.has(cid)) ? null : removedBy(ctx, state, log, some);
    });
  }
}

/**
 * A `removed` entry of ours. No epoch is believed to have begun of which nobody handed out the key.
 *
 * @param {Ctx} ctx
 * @param {SharedState} state
 * @param {MemberLog} log
 * @param {string[]} cids
 * @returns {Entry}
 */
export function removedBy(ctx, state, log, cids) {
  const handedOut = [...log.epochs.keys()].reduce((highest, one) => Math.max(highest, one), 0) || 1;
  return entryBy(ctx, state, REMOVED, { cids, epoch: Math.min(log.epoch, handedOut) });
}

/**
 * Make sure of the key of an epoch, which has begun by the server.
 *
 * @param {Ctx} ctx
 * @param {number} epoch
 * @returns {Promise<SharedState>}
 * @throws {Refused} `key_missing`: nobody gave it to us.
 */
export async function fetchKey(ctx, epoch) {
  const { state } = await bound(ctx);
  if (keyOf(state, epoch)) return state;
  const read = await readLog(ctx, epoch);
  if (keyOf(read.state, epoch)) return read.state;
  throw keyMissing(`no key of epoch ${epoch} was given to you`);
}

/**
 * A key that nobody gave to us.
 *
 * @param {string} why
 * @returns {Refused}
 */
export function keyMissing(why) {
  return new Refused("key_missing", `${why}: ask for another bundle`);
}

/**
 * Whether a server refused because only the home of the space does this.
 *
 * @param {unknown} error
 * @returns {boolean}
 */
export function isElsewhere(error) {
  return error instanceof RequestFailed && error.detail === "space is hosted on another server";
}
