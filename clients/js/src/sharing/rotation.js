/**
 * Give a space a new key, so that who was removed cannot read what is written from now on.
 *
 * The server's state and the log say how far a rotation has come, so every step can be repeated and a break
 * anywhere is made good by running it again; the state only remembers that one is under way, and for whom:
 *
 *     revoke their UCANs ─▶ `removed` entries ─▶ `epoch` entry n+1, with the key for each who stays
 *     ─▶ epoch.begin n+1, older keys refused ─▶ rewrap every DEK (`rewrapping.js`) ─▶ epoch.complete
 *
 * A rotation that somebody else left half done is completed first. If its key went to, or came from, somebody
 * who is to be removed, another one follows. A key for an epoch that has not begun, by somebody who is out,
 * is voided and replaced; one for an epoch that has begun, which we were not given, is passed through.
 *
 * @module
 */
import { randomBytes } from "../bytes.js";
import { decodeDid } from "../did.js";
import { Refused, RequestFailed } from "../errors.js";
import { SIGNED_BYTES_MAX } from "../jose.js";
import { covers, ucanCid } from "../ucan.js";
import { EPOCH, PLACED, keyCheck, sealedKeys } from "./entries.js";
import { appendEntry, entryBy, isElsewhere, keyMissing, readLog } from "./log_access.js";
import { noteRemoval, removedBy, standing } from "./log_access.js";
import { Rewrapper } from "./rewrapping.js";
import { markedRevoked } from "./spaces.js";
import { bound, keyOf, present } from "./state.js";

/** @typedef {import("./entries.js").Entry} Entry */
/** @typedef {import("./log.js").MemberLog} MemberLog */
/** @typedef {import("./log_access.js").Standing} Standing */
/** @typedef {import("./state.js").Ctx} Ctx */
/** @typedef {import("./state.js").SharedState} SharedState */

/** How often it is looked where the space stands, when others rotate too. */
export const ROUNDS_MAX = 12;

/** Entries about one epoch, each for as many people as can be signed at once: 60 to 190. */
const KEY_ENTRIES_MAX = 100;

const KEY_BYTES = 32;
/** Of a sealed key in an entry, with the DID. It takes 477, which leaves enough for what else an entry has. */
const SEALED_KEY_BYTES = 500;

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
export async function rotate(ctx, { remove = [], onStep = () => {} } = {}) {
  const { state, grant } = await bound(ctx);
  if (!covers(grant.permission, "admin")) {
    throw new Refused("not_allowed", "only an admin can rotate the keys");
  }
  if (remove.includes(ctx.device.did)) {
    throw new Refused("remove_oneself", "you cannot remove yourself");
  }
  remove.forEach((did) => decodeDid(did));
  try {
    return await new Rotator(ctx, onStep).run(remove);
  } catch (error) {
    // Only the home of a space rotates: what was to be done is as it was.
    if (isElsewhere(error)) await ctx.change((now) => ({ ...present(now), rotation: state.rotation }));
    throw error;
  }
}

/** One rotation, from wherever it stands to its end. */
class Rotator {
  #ctx;
  #step;
  /** @type {Set<string>} */
  #undecryptable = new Set();

  /**
   * @param {Ctx} ctx
   * @param {(name: string) => void | Promise<void>} step
   */
  constructor(ctx, step) {
    this.#ctx = ctx;
    this.#step = step;
  }

  /**
   * @param {string[]} remove
   * @returns {Promise<Rotated>}
   */
  async run(remove) {
    const begun = await this.#begun(remove, (await this.#where()).epoch);
    const gone = new Set(begun.remove ?? []);
    for (const did of gone) await this.#remove(did);
    for (let round = 0; round < ROUNDS_MAX; round++) {
      const now = await this.#where();
      const { log, state } = await readLog(this.#ctx, now.epoch);
      if (now.pending !== null) {
        await this.#complete(now.pending, log, state, gone);
      } else if (now.epoch > (state.rotation?.from_epoch ?? 0) && !isFoul(log, now.epoch, gone)) {
        await this.#step("done");
        await this.#ctx.change((kept) => withoutRotation(present(kept)));
        return { epoch: now.epoch, undecryptable: [...this.#undecryptable] };
      } else {
        if (!isFoul(log, now.epoch, gone)) checkKey(now.epoch, log, state);
        await this.#enter(now.epoch + 1, gone);
      }
    }
    throw new Refused("rotation_busy", "the keys change too fast: try again");
  }

  /**
   * Note what is to be done, beside what an earlier run has left undone.
   *
   * @param {string[]} remove
   * @param {number} epoch
   */
  async #begun(remove, epoch) {
    const state = await this.#ctx.change((kept) => {
      const now = present(kept);
      const former = now.rotation ?? { from_epoch: epoch };
      const dids = [...new Set([...(former.remove ?? []), ...remove])];
      return { ...now, rotation: { ...former, ...(dids.length && { remove: dids }) } };
    });
    return /** @type {import("./state.js").Rotation} */ (state.rotation);
  }

  /** @returns {Promise<Standing>} */
  async #where() {
    return standing(this.#ctx, present(await this.#ctx.load()).ucan);
  }

  /**
   * Revoke every token of a member that is known, then say so in the log.
   *
   * @param {string} did
   */
  async #remove(did) {
    const { log, state } = await readLog(this.#ctx, (await this.#where()).epoch);
    const noted = (state.delegated ?? []).filter((note) => note.did === did).map((note) => note.cid);
    const known = [...(log.members.get(did)?.cids ?? []), ...(log.shown.get(did) ?? []), ...noted];
    const cids = [...new Set(known)].sort();
    for (const cid of cids) {
      await this.#step("revoke");
      await this.#ctx.client.membershipRevoke(state.space, cid, { ucan: state.ucan });
    }
    await this.#ctx.change((now) => markedRevoked(present(now), (note) => note.did === did));
    await this.#step("removed entry");
    await noteRemoval(this.#ctx, cids);
  }

  /**
   * Have the next epoch's key handed out, by us unless somebody has whose word counts, and begin it.
   *
   * @param {number} epoch
   * @param {Set<string>} gone
   */
  async #enter(epoch, gone) {
    await this.#step("epoch entry");
    const { log, state } = await this.#handedOut(epoch, gone);
    if (!isFoul(log, epoch, gone)) checkKey(epoch, log, state);
    await this.#step("begin");
    // If somebody was faster the answer is an epoch_conflict, and theirs is completed in the next round.
    await this.#ctx.client.epochBegin(state.space, epoch, { set_min_key_generation: true, ucan: state.ucan });
  }

  /**
   * See to it that the log has a key for an epoch, for everybody who is in by now.
   *
   * @param {number} epoch
   * @param {Set<string>} gone
   * @returns {Promise<{log: MemberLog, state: SharedState}>}
   */
  async #handedOut(epoch, gone) {
    /** @type {Set<string>} */
    const voided = new Set();
    let more = true;
    /** @type {import("./log_access.js").Make} */
    const next = async (log, state) => {
      more = false;
      const former = log.epochs.get(epoch);
      const now = this.#ctx.now();
      // What was voided and stands nonetheless has begun, and will be passed through.
      if (former && voided.has(former.proof)) return null;
      if (former && epoch > log.epoch && (await log.isSpent(former, now))) {
        voided.add(former.proof);
        more = true;
        return removedBy(this.#ctx, state, log, [await ucanCid(former.proof)]);
      }
      const dids = [...recipients(log, state, now)].filter((did) => !gone.has(did));
      const entry = await this.#keyEntry(epoch, state, log, dids);
      more = entry !== null && entry.keys.size === room(state);
      return entry;
    };
    for (let round = 0; round < KEY_ENTRIES_MAX; round++) {
      const read = await appendEntry(this.#ctx, next);
      if (!more) return read;
    }
    throw new Refused("too_many_members", "too many members: try again");
  }

  /**
   * The key of an epoch for these people: a new one, or that of the log for whom it left out.
   *
   * @param {number} epoch
   * @param {SharedState} state
   * @param {MemberLog} log
   * @param {string[]} dids
   * @returns {Promise<Entry | null>}
   */
  async #keyEntry(epoch, state, log, dids) {
    const former = log.epochs.get(epoch);
    const key = !former ? randomBytes(KEY_BYTES) : log.keys.get(epoch);
    if (!key || (former && former.v < PLACED)) return null;
    const us = this.#ctx.device.did;
    // We go first: who does not have the key cannot hand it on.
    const own = former?.keys.has(us) ? [] : [us];
    const others = dids.filter((did) => did !== us && !former?.keys.has(did) && isDid(did)).sort();
    const keys = await sealedKeys(state.space, epoch, key, [...own, ...others].slice(0, room(state)));
    return keys.size ? entryBy(this.#ctx, state, EPOCH, { epoch, keys, check: await keyCheck(key) }) : null;
  }

  /**
   * Rewrap what is left of a pending epoch and close it; in vain if somebody else was faster.
   *
   * Nothing is rewrapped for an epoch that is followed by another at once.
   *
   * @param {number} epoch
   * @param {MemberLog} log
   * @param {SharedState} state
   * @param {Set<string>} gone
   */
  async #complete(epoch, log, state, gone) {
    const { client } = this.#ctx;
    let known = state;
    const foul = isFoul(log, epoch, gone);
    if (!foul) {
      checkKey(epoch, log, state);
      known = (await this.#handedOut(epoch, gone)).state;
    }
    try {
      if (!foul) {
        const [step, undecryptable] = [this.#step, this.#undecryptable];
        await new Rewrapper({ client, state: known, epoch, step, undecryptable }).run();
      }
      await this.#step("complete");
      await client.epochComplete(known.space, epoch, { ucan: known.ucan });
    } catch (error) {
      // Something was written since it was listed, a file was deleted, or the epoch is over: look again.
      const again = error instanceof RequestFailed && ["conflict", "bad_request"].includes(error.code);
      if (!again || isElsewhere(error)) throw error;
    }
  }
}

/**
 * How many keys fit into an entry of ours beside the proof; at least 60.
 *
 * @param {SharedState} state
 */
function room({ ucan }) {
  return Math.floor((SIGNED_BYTES_MAX - ucan.length) / SEALED_KEY_BYTES);
}

/**
 * Whether a key can be sealed for it: any text could be let in.
 *
 * @param {string} did
 */
function isDid(did) {
  try {
    decodeDid(did);
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether an epoch must be followed by another: its key went to, or came from, somebody who is out.
 *
 * One without a key that counts could have been begun by whoever is to be removed.
 *
 * @param {MemberLog} log
 * @param {number} epoch
 * @param {Set<string>} gone
 */
function isFoul(log, epoch, gone) {
  const entry = log.epochs.get(epoch);
  if (!entry) return gone.size > 0;
  return [entry.author, ...entry.keys.keys()].some((did) => gone.has(did) || log.gone.has(did));
}

/**
 * @param {number} epoch
 * @param {MemberLog} log
 * @param {SharedState} state
 */
function checkKey(epoch, log, state) {
  if (log.keys.has(epoch) || keyOf(state, epoch)) return;
  const maker = log.epochs.get(epoch)?.author ?? "its author";
  throw keyMissing(`no key of epoch ${epoch} was given to you by ${maker}: remove them, or`);
}

/**
 * Who is to have the next key: members by the log, and by tokens made here.
 *
 * @param {MemberLog} log
 * @param {SharedState} state
 * @param {number} now
 * @returns {Set<string>}
 */
function recipients(log, state, now) {
  const members = [...log.members.values()].filter((member) => member.expiresAt >= now);
  const noted = (state.delegated ?? []).filter((note) => !note.revoked && !log.revoked.has(note.cid));
  const good = noted.filter((note) => note.expires_at >= now);
  return new Set([...members, ...good].map((one) => one.did));
}

/**
 * @param {SharedState} state
 * @returns {SharedState}
 */
function withoutRotation({ rotation, ...rest }) {
  return rest;
}
