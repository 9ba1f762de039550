/** The methods of the protocol as calls (docs/protocol.md 7 and 8 say what each does). */

import { ConnectionLost, NotThisProtocol } from "./errors.js";
import { NO_CLOSE_FRAME } from "./connection.js";
import { CHUNKS, RESULTS, shaped } from "./shapes.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {import("./shapes.js").Invitation} Invitation */
/** @typedef {import("./shapes.js").MemberEntry} MemberEntry */
/** @typedef {import("./shapes.js").PushResult} PushResult */
/** @typedef {{id: string, dek: Bytes, seq: number}} RecordDek */
/** @typedef {{id: string, dek: Bytes, cursor: number}} FileDek */
/** @typedef {{id: string, dek: Uint8Array}} RewrappedDek */

/**
 * One record to write: without a blob it is deleted. `expected_cursor` is where it was last seen, 0: never.
 *
 * @typedef {{id: string, blob?: Uint8Array, expected_cursor: number, dek?: Uint8Array}} Change
 */

/**
 * A UCAN lets the caller into a shared space; in the own personal space none is needed.
 *
 * @typedef {{ucan?: string}} Access
 */

/** More than the keys, the id, the cursor and all heads of one change take in a push. */
const CHANGE_OVERHEAD_BYTES = 160;
/** And all that stands around the changes, a UCAN of the largest size included. */
const PUSH_OVERHEAD_BYTES = 1024 + 65_536;
const CHANGES_PER_PUSH = 1000;
const FRAME_BYTES = 4 * 1024 * 1024;

/** Wrapped DEKs in one request of `deksRewrap`: about 1 MiB. */
export const DEKS_PER_REWRAP = 10_000;

/**
 * Group changes into pushes that fit into one message each. A change too large for any stands alone.
 *
 * @param {Iterable<Change>} changes
 * @param {number} [frameBytes]
 * @returns {Generator<Change[], void, void>}
 */
export function* splitChanges(changes, frameBytes = FRAME_BYTES) {
  /** @type {Change[]} */
  let batch = [];
  let sizeBytes = PUSH_OVERHEAD_BYTES;
  for (const change of changes) {
    const moreBytes = CHANGE_OVERHEAD_BYTES + (change.blob?.length ?? 0) + (change.dek?.length ?? 0);
    if (batch.length > 0 && (sizeBytes + moreBytes > frameBytes || batch.length >= CHANGES_PER_PUSH)) {
      yield batch;
      batch = [];
      sizeBytes = PUSH_OVERHEAD_BYTES;
    }
    batch.push(change);
    sizeBytes += moreBytes;
  }
  if (batch.length > 0) yield batch;
}

/**
 * `SyncClient` has all of these. Results are what the server sent, with the names it gave. Each may reject
 * with `RequestFailed` (`AccessLost`: `forbidden`), `ConnectFailed`, `ConnectionLost`, `RequestTimeout`,
 * `TokenRefused`, `FrameTooLarge`, `NotThisProtocol` and `ClientClosed`; `errors.js` says what they mean.
 */
export class Calls {
  #keeper;
  /** The connection over which keys were listed last, by method and space. @type {Map<string, unknown>} */
  #listedOver = new Map();

  /** @param {import("./keeper.js").Keeper} keeper */
  constructor(keeper) {
    this.#keeper = keeper;
  }

  /**
   * Who this client is to the server (docs/protocol.md 7).
   *
   * @returns {Promise<import("./shapes.js").SessionInfo>}
   */
  info() {
    return this.#call("session.info", {});
  }

  /**
   * Give the server a fresh token for this connection (docs/protocol.md 7.1). A refusal is a value.
   *
   * @returns {Promise<{ok: boolean, error?: string}>}
   * @throws {import("./errors.js").TokenUnavailable}
   */
  async refresh() {
    const { token, proof } = await this.#keeper.credentials();
    return this.#call("token.refresh", { token, did_proof: proof });
  }

  /**
   * Hear of these spaces from now on, also after reconnects (docs/protocol.md 7.3). A space that is refused
   * is one of `errors` and harms no other.
   *
   * @param {{id: string, since?: number, ucan?: string, presence?: boolean}[]} entries at most 1000.
   * @returns {Promise<{spaces: import("./shapes.js").SubscribedSpace[],
   *   errors: {space: string, error: string}[]}>}
   */
  async subscribe(entries) {
    const spaces = entries.map(({ id, since = 0, ucan, presence }) => ({ id, since, ucan, presence }));
    const result = await this.#call("subscribe", { spaces });
    const refused = new Set((result.errors ?? []).map((/** @type {{space: string}} */ one) => one.space));
    for (const space of spaces) {
      // Who is refused has no subscription any more, even if there was one (docs/protocol.md 5.3).
      if (refused.has(space.id)) this.#keeper.subscriptions.delete(space.id);
      else this.#keeper.subscriptions.set(space.id, space);
    }
    return { spaces: result.spaces, errors: result.errors ?? [] };
  }

  /**
   * Hear no more of these spaces (docs/protocol.md 8.3).
   *
   * @param {string[]} ids
   */
  async unsubscribe(ids) {
    for (const id of ids) this.#keeper.subscriptions.delete(id);
    try {
      this.#keeper.connection?.notify("unsubscribe", { spaces: ids });
    } catch (error) {
      // The next connection will not subscribe to them, and this one has ended.
      if (!(error instanceof ConnectionLost)) throw error;
    }
  }

  /**
   * Write changes, all or none (docs/protocol.md 7.4). A refusal is a value: `ok` false and `error`, an error
   * code. After ConnectionLost or RequestTimeout it may have been written (docs/protocol.md 6.5).
   *
   * @param {string} space
   * @param {Change[]} changes `splitChanges` makes them fit.
   * @param {Access & {timeoutMs?: number}} [options]
   * @returns {Promise<PushResult>}
   */
  push(space, changes, { ucan, timeoutMs } = {}) {
    const fields = changes.map(({ id, blob, expected_cursor, dek }) => ({ id, blob, expected_cursor, dek }));
    return this.#call("push", { space, ucan, changes: fields }, timeoutMs);
  }

  /**
   * Create a shared space (docs/protocol.md 7.2).
   *
   * @param {string} space a random UUID.
   * @param {Uint8Array} rootPublicKey 33 bytes, a compressed P-256 point.
   * @param {{home_server?: string}} [options]
   * @returns {Promise<{id: string, key_generation: number, home_server?: string}>}
   */
  spaceCreate(space, rootPublicKey, { home_server } = {}) {
    return this.#call("space.create", { id: space, root_public_key: rootPublicKey, home_server });
  }

  /**
   * Append an entry to the membership log (docs/protocol.md 7.6); `conflict` when somebody was faster.
   *
   * @param {string} space
   * @param {{expected_version: number, prev_hash?: Uint8Array, entry_hash: Uint8Array,
   *   payload: Uint8Array}} entry
   * @param {Access} [options]
   * @returns {Promise<{chain_seq: number, metadata_version: number}>}
   */
  membershipAppend(space, { expected_version, prev_hash, entry_hash, payload }, { ucan } = {}) {
    const entry = { expected_version, prev_hash, entry_hash, payload };
    return this.#call("membership.append", { space, ucan, ...entry });
  }

  /**
   * The entries of the membership log above `since_seq` (docs/protocol.md 7.7).
   *
   * @param {string} space
   * @param {Access & {since_seq?: number}} [options]
   * @returns {Promise<{entries: MemberEntry[], metadata_version: number}>}
   */
  membershipList(space, { ucan, since_seq } = {}) {
    return this.#call("membership.list", { space, ucan, since_seq });
  }

  /**
   * Make a UCAN, and all that was delegated from it, worthless in the space (docs/protocol.md 7.8).
   *
   * @param {string} space
   * @param {string} ucanCid 64 hex digits.
   * @param {Access} [options]
   */
  async membershipRevoke(space, ucanCid, { ucan } = {}) {
    await this.#call("membership.revoke", { space, ucan_cid: ucanCid, ucan });
  }

  /**
   * Leave a message in a mailbox (docs/protocol.md 7.9).
   *
   * @param {string} mailbox 64 hex digits.
   * @param {string} payload at most 131072 bytes.
   * @param {{server?: string}} [options] the domain of the mailbox's own server.
   * @returns {Promise<Invitation>}
   */
  invitationCreate(mailbox, payload, { server } = {}) {
    return this.#call("invitation.create", { mailbox_id: mailbox, payload, server });
  }

  /**
   * One page of the own mailbox, the oldest first (docs/protocol.md 7.10).
   *
   * @param {{limit?: number, after?: string}} [options]
   * @returns {Promise<Invitation[]>}
   */
  async invitationList({ limit, after } = {}) {
    return (await this.#call("invitation.list", { limit, after })).invitations;
  }

  /**
   * @param {string} id
   * @returns {Promise<Invitation>}
   */
  invitationGet(id) {
    return this.#call("invitation.get", { id });
  }

  /** @param {string} id */
  async invitationDelete(id) {
    await this.#call("invitation.delete", { id });
  }

  /**
   * Enter the next epoch (docs/protocol.md 7.13). A conflict is a value.
   *
   * @param {string} space
   * @param {number} epoch
   * @param {Access & {set_min_key_generation?: boolean}} [options]
   * @returns {Promise<{epoch: number, error?: undefined} |
   *   {error: string, current_epoch: number, rewrap_epoch?: number}>}
   */
  epochBegin(space, epoch, { ucan, set_min_key_generation } = {}) {
    return this.#call("epoch.begin", { space, ucan, epoch, set_min_key_generation });
  }

  /**
   * Say that every DEK is rewrapped (docs/protocol.md 7.14).
   *
   * @param {string} space
   * @param {number} epoch
   * @param {Access} [options]
   */
  async epochComplete(space, epoch, { ucan } = {}) {
    await this.#call("epoch.complete", { space, ucan, epoch });
  }

  /**
   * Yield the wrapped DEKs of records by cursor, which is `seq` (docs/protocol.md 7.15).
   *
   * @param {string} space
   * @param {Access & {since?: number}} [options]
   * @returns {AsyncGenerator<RecordDek, void, void>}
   */
  deksGet(space, options) {
    return this.#deks("deks", "deks.record", space, options);
  }

  /**
   * Yield the wrapped DEKs of files by cursor (docs/protocol.md 7.17).
   *
   * @param {string} space
   * @param {Access & {since?: number}} [options]
   * @returns {AsyncGenerator<FileDek, void, void>}
   */
  fileDeksGet(space, options) {
    return this.#deks("file.deks", "deks.files.record", space, options);
  }

  /**
   * Replace wrapped DEKs of records, all or none (docs/protocol.md 7.16). Rejects with ConnectionLost also if
   * they were listed over another connection: list them again.
   *
   * @param {string} space
   * @param {RewrappedDek[]} deks at most `DEKS_PER_REWRAP`.
   * @param {Access} [options]
   * @returns {Promise<number>} how many were sent.
   */
  deksRewrap(space, deks, options) {
    return this.#rewrap("deks", space, deks, options);
  }

  /**
   * The same of files (docs/protocol.md 7.18).
   *
   * @param {string} space
   * @param {RewrappedDek[]} deks
   * @param {Access} [options]
   * @returns {Promise<number>}
   */
  fileDeksRewrap(space, deks, options) {
    return this.#rewrap("file.deks", space, deks, options);
  }

  /**
   * Be there, with up to 1024 bytes to show (docs/protocol.md 8.4); again within a minute to stay.
   *
   * @param {string} space
   * @param {Uint8Array} data
   */
  presenceSet(space, data) {
    return this.#tell("presence.set", { space, data });
  }

  /**
   * Be there no more (docs/protocol.md 8.5).
   *
   * @param {string} space
   */
  presenceClear(space) {
    return this.#tell("presence.clear", { space });
  }

  /**
   * Send up to 4096 bytes to whoever listens now (docs/protocol.md 8.6). Nobody tells whether they arrived.
   *
   * @param {string} space
   * @param {Uint8Array} data
   */
  eventSend(space, data) {
    return this.#tell("event.send", { space, data });
  }

  /**
   * @param {string} method
   * @param {object} params
   * @param {number} [timeoutMs]
   * @returns {Promise<any>}
   */
  async #call(method, params, timeoutMs) {
    const connection = await this.#keeper.ready(method);
    return connection.call(method, params, RESULTS[method] ?? {}, timeoutMs);
  }

  /**
   * @param {string} method
   * @param {object} params
   * @returns {Promise<void>}
   */
  #tell(method, params) {
    const told = this.#keeper.ready(method).then((connection) => connection.notify(method, params));
    told.catch(() => {}); // Nobody need wait for what is never answered.
    return told;
  }

  /**
   * @param {string} family
   * @param {string} name
   * @param {string} space
   * @param {Access & {since?: number}} [options]
   * @returns {AsyncGenerator<any, void, void>}
   */
  async *#deks(family, name, space, { ucan, since } = {}) {
    const method = `${family}.get`;
    const connection = await this.#keeper.ready(method);
    this.#listedOver.set(`${family} ${space}`, connection);
    for await (const chunk of connection.stream(method, { space, ucan, since })) {
      if (chunk.name !== name) throw new NotThisProtocol(`${method}: malformed`);
      yield shaped(chunk.data, CHUNKS[name] ?? {}, name);
    }
  }

  /**
   * @param {string} family
   * @param {string} space
   * @param {RewrappedDek[]} deks
   * @param {Access} [options]
   * @returns {Promise<number>}
   */
  async #rewrap(family, space, deks, { ucan } = {}) {
    const method = `${family}.rewrap`;
    const connection = await this.#keeper.ready(method);
    // Only over the listing's own connection does the server protect what was written since: over another,
    // the key of a newer content would be replaced by that of the former (docs/protocol.md 7.16).
    if ((this.#listedOver.get(`${family} ${space}`) ?? connection) !== connection) {
      throw new ConnectionLost(NO_CLOSE_FRAME, "listed over another");
    }
    const wrapped = deks.map(({ id, dek }) => ({ id, dek }));
    return (await connection.call(method, { space, ucan, deks: wrapped }, RESULTS[method] ?? {})).count;
  }
}
