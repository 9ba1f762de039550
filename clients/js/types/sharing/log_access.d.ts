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
export function standing(ctx: Pick<Ctx, "client" | "now">, ucan: string): Promise<Standing>;
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
export function readLog(ctx: Ctx, epoch: number): Promise<{
    log: MemberLog;
    state: SharedState;
    reader: Reader;
}>;
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
export function appendEntry(ctx: Ctx, make: Make): Promise<{
    log: MemberLog;
    state: SharedState;
}>;
/**
 * An entry of ours; `appendEntry` gives it its place.
 *
 * @param {Ctx} ctx
 * @param {SharedState} state
 * @param {string} kind
 * @param {Partial<Entry>} [fields]
 * @returns {Entry}
 */
export function entryBy(ctx: Ctx, state: SharedState, kind: string, fields?: Partial<Entry>): Entry;
/**
 * Have a member's UCAN in the log, unless it is there.
 *
 * @param {Ctx} ctx
 * @param {string} ucan
 * @returns {Promise<SharedState>} What there is to know of the space by then.
 * @throws {Refused} as `appendEntry`.
 */
export function noteMember(ctx: Ctx, ucan: string): Promise<SharedState>;
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
export function noteRemoval(ctx: Ctx, cids: string[]): Promise<void>;
/**
 * A `removed` entry of ours. No epoch is believed to have begun of which nobody handed out the key.
 *
 * @param {Ctx} ctx
 * @param {SharedState} state
 * @param {MemberLog} log
 * @param {string[]} cids
 * @returns {Entry}
 */
export function removedBy(ctx: Ctx, state: SharedState, log: MemberLog, cids: string[]): Entry;
/**
 * Make sure of the key of an epoch, which has begun by the server.
 *
 * @param {Ctx} ctx
 * @param {number} epoch
 * @returns {Promise<SharedState>}
 * @throws {Refused} `key_missing`: nobody gave it to us.
 */
export function fetchKey(ctx: Ctx, epoch: number): Promise<SharedState>;
/**
 * A key that nobody gave to us.
 *
 * @param {string} why
 * @returns {Refused}
 */
export function keyMissing(why: string): Refused;
/**
 * Whether a server refused because only the home of the space does this.
 *
 * @param {unknown} error
 * @returns {boolean}
 */
export function isElsewhere(error: unknown): boolean;
/** @typedef {import("./state.js").Ctx} Ctx */
/** @typedef {import("./state.js").SharedState} SharedState */
/** @typedef {import("./log.js").MemberLog} MemberLog */
/** @typedef {import("./entries.js").Entry} Entry */
/** How often an entry is made anew when others write at the same time. */
export const APPEND_ATTEMPTS: 8;
/** With the largest proof beside them they can be signed. */
export const CIDS_PER_ENTRY: 400;
/**
 * Makes the next entry of the log as it is, or null if there is nothing to say.
 */
export type Make = (log: MemberLog, state: SharedState) => Entry | null | Promise<Entry | null>;
/**
 * A space as the server sees it: its epoch, the one whose rewrap is pending, and who is there.
 */
export type Standing = {
    epoch: number;
    pending: number | null;
    /**
     * Who is present.
     */
    peers: import("../shapes.js").Peer[];
};
export type Ctx = import("./state.js").Ctx;
export type SharedState = import("./state.js").SharedState;
export type MemberLog = import("./log.js").MemberLog;
export type Entry = import("./entries.js").Entry;
import { Reader } from "./log.js";
import { Refused } from "../errors.js";
