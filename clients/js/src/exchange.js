/**
 * What a replica and its space say to each other: subscribe, pull, push, take announcements.
 *
 * Nothing is tried again here, and nothing waits: `syncing.js` decides that. What a lost connection leaves
 * unclear (was the push written?) the next pull tells.
 */

import { AccessLost, LessSyncError, RequestFailed } from "./errors.js";
import { MadeOf } from "./made_of.js";
import { epochOf } from "./space_keys.js";
import { subscribed } from "./subscribing.js";

/** @typedef {import("./intake.js").Incoming} Incoming */

const PULLS_MAX = 8;
const RECORDS_PER_BATCH = 256;
const BATCH_BYTES_MAX = 4 * 1024 * 1024;
const CONFLICTS_TO_FORGET = 3;
const CONFLICTS_MAX = 8;

/** The space does not let us in (any more): the one answer that is believed about it. */
export class SpaceLost extends LessSyncError {
  constructor() {
    super("access_lost", "the space does not let you in");
  }
}

/**
 * @typedef {object} ExchangeParts
 * @property {import("./sending.js").Talk} talk
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {import("./intake.js").Intake} intake
 * @property {import("./sending.js").Sending} sending
 * @property {(epoch: number) => Promise<void>} learn  has the key of an epoch, or throws
 * @property {() => boolean} mayPush
 */

/**
 * See the module. Methods run one at a time.
 *
 * @extends {MadeOf<ExchangeParts>}
 */
export class Exchange extends MadeOf {
  /** Whether the server may have ended the subscription, and has not taken it anew. */
  isDeaf = true;
  /** Whether what could not be applied before is asked for again: once after opening, and after new keys. */
  askAgain = true;

  /**
   * Subscribe the space and have its newest key.
   *
   * @throws {SpaceLost}
   * @throws {LessSyncError} as `SyncClient.subscribe`, and as `learn`
   */
  async subscribe() {
    const { client, space, ucan } = this.talk;
    const { cursor } = await this.kept.meta();
    const access = await ucan();
    // Who is there is told of shared spaces alone; asking without it would end what `presence.js` asked for.
    const about = access === undefined ? {} : { ucan: access, presence: true };
    const found = await subscribed(client, { id: space, since: Math.max(0, cursor), ...about }, () => new SpaceLost());
    this.isDeaf = false;
    await this.#know(found.key_generation);
    return found;
  }

  /** @param {number} generation */
  async #know(generation) {
    this.talk.epoch = Math.max(1, generation);
    if (this.keys.knows(this.talk.epoch)) return;
    await this.learn(this.talk.epoch);
    this.askAgain = true;
  }

  /** Have the newest key of a shared space. Before each part of an upload, and for parts of unknown keys. */
  async refreshKeys() {
    if ((await this.talk.ucan()) !== undefined) await this.subscribe();
  }

  /**
   * Apply one announcement if it continues what is known. True: a pull is due.
   *
   * @param {any} notice
   * @returns {Promise<boolean>}
   */
  async take(notice) {
    switch (notice.method) {
      case "sync":
        return this.#applyNotice(notice);
      case "resync":
        return true;
      case "lost":
      case "revoked":
      case "resubscribe":
        // Somebody's token was revoked: subscribing again tells whether it was ours.
        this.isDeaf = true;
        return true;
      default:
        return false;
    }
  }

  /** @param {{ prev: number, cursor: number, records: Incoming[] }} notice */
  async #applyNotice({ prev, cursor, records }) {
    const known = (await this.kept.meta()).cursor;
    if (cursor <= known) return false;
    const readable = records.every(({ dek }) => !dek || dek.length < 4 || this.keys.knows(epochOf(dek)));
    if (prev !== known || records.length === 0 || !readable) return true;
    this.intake.start();
    await this.intake.receive(records);
    await this.intake.finish();
    if (this.intake.rolledBack > 0) return true; // it is pushed again after the pull
    await this.kept.advance(cursor);
    return false;
  }

  /**
   * Take in everything after the cursor.
   *
   * @throws {import("./intake.js").KeyMismatch} the space was written with another key; nothing was changed
   * @throws {LessSyncError} as `SyncClient.pull`
   */
  async pull() {
    if (this.isDeaf) await this.subscribe();
    for (let attempt = 0; attempt < PULLS_MAX; attempt++) {
      const { cursor } = await this.kept.meta();
      const first = this.askAgain ? await this.kept.firstWanted() : undefined;
      const since = first === undefined ? cursor : Math.min(cursor, first - 1);
      if (await this.#pullSince(since > 0 ? since : -1)) {
        this.askAgain = false;
        return;
      }
    }
    throw new RequestFailed("internal", "the space changes too fast");
  }

  /**
   * One pull. False: it has to begin anew, with a key that came meanwhile or as another server.
   *
   * @param {number} since  never 0, which would hide tombstones
   */
  async #pullSince(since) {
    const { client, space, ucan } = this.talk;
    const known = (await this.kept.meta()).cursor;
    this.intake.start();
    /** @type {Incoming[]} */
    let batch = [];
    let bytes = 0;
    let begun = 0;
    for await (const event of client.pull(space, since, { ucan: await ucan() })) {
      if (event.kind === "begin") {
        begun = event.key_generation;
        if (!this.keys.knows(Math.max(1, begun))) break; // it is fetched when nothing streams
        this.talk.epoch = Math.max(1, begun);
        if (event.cursor < known) {
          await this.kept.forget();
          return false;
        }
      } else if (event.kind === "record") {
        batch.push(event);
        bytes += event.blob?.length ?? 0;
        if (batch.length < RECORDS_PER_BATCH && bytes < BATCH_BYTES_MAX) continue;
        await this.intake.receive(batch);
        [batch, bytes] = [[], 0];
      } else if (event.kind === "commit") {
        await this.intake.receive(batch);
        await this.intake.finish();
        await this.kept.advance(event.cursor);
        return true;
      }
    }
    await this.#know(begun);
    return false;
  }

  /**
   * Pull and push in turn until a push goes through.
   *
   * After a few conflicts in a row everything is forgotten and compared anew: the server then contradicts what
   * is remembered of it, as one restored from a backup does.
   *
   * @param {boolean} pullFirst
   */
  async agree(pullFirst) {
    if ((await this.kept.meta()).forgetting) await this.kept.forget();
    let pulled = pullFirst;
    for (let conflicts = 1; conflicts <= CONFLICTS_MAX; conflicts++) {
      if (pulled) await this.pull();
      if (!this.mayPush() || (await this.sending.push(pulled))) return;
      if (conflicts === CONFLICTS_TO_FORGET) await this.kept.forget();
      pulled = true;
    }
    throw new RequestFailed("conflict", "the space changes too fast");
  }

  /**
   * What of a fault will not pass; undefined: it may. Whether access is gone only subscribing tells.
   *
   * @param {unknown} trouble
   * @returns {Promise<LessSyncError | undefined>}
   */
  async lasting(trouble) {
    if (!(trouble instanceof LessSyncError)) return undefined;
    if (LASTING.includes(trouble.code)) return trouble;
    if (!(trouble instanceof AccessLost)) return undefined;
    try {
      await this.subscribe();
    } catch (error) {
      if (error instanceof SpaceLost) return error;
    }
    return undefined;
  }
}

const LASTING = [
  "access_lost",
  "key_mismatch",
  "key_missing",
  "another_person",
  "log_broken",
  "log_not_continued",
  "not_shared",
  "closed",
  "invalid_params",
  "bad_request",
  "payload_too_large",
  "method_not_found",
];
