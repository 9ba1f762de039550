/**
 * One space as an app uses it: entries by path, kept here and brought into agreement with the server.
 *
 * `put`, `delete`, `get` and `list` work on what is here, at once and without a network; what changed is sent
 * when there is one. Paths are like those of files: names separated by `/`, in Unicode normal form C.
 */

import { randomUuid } from "./bytes.js";
import { ClientClosed, LessSyncError, Refused } from "./errors.js";
import { rest } from "./clock.js";
import { Downloads } from "./downloads.js";
import { Merging, entryOf, sourceOf } from "./entry.js";
import { Emitter } from "./events.js";
import { Exchange } from "./exchange.js";
import { FileStorage } from "./file_storage.js";
import { Intake } from "./intake.js";
import { pathProblem } from "./paths.js";
import { OLDER, OTHER_KIND, UNPROVEN, isHere } from "./rows.js";
import { Sending } from "./sending.js";
import { Syncing } from "./syncing.js";
import { Uploads } from "./uploads.js";

/** @typedef {import("./entry.js").Entry} Entry */
/** @typedef {import("./entry.js").Merge} Merge */
/** @typedef {import("./entry.js").Versions} Versions */
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Content} Content */

/**
 * An entry has changed. `local`: by this object; `remote`: by another device, person or tab.
 *
 * @typedef {{ path: string, deleted: boolean, origin: "local" | "remote" }} ChangeEvent
 */

/**
 * @typedef {object} SpaceStatus
 * @property {boolean} online  whether there is a connection, and nothing that will not pass by itself
 * @property {number} pending  entries that wait to be sent
 * @property {boolean} lost  a shared space does not let us in (any more); what is here stays
 */

/**
 * `conflict`: two versions did not follow each other; the one from here is at `copy` now. `error`: something
 * that could not be done, was refused, or will be tried again; `code` says what, `path` where, if it is about one
 * entry.
 *
 * @typedef {{ change: [ChangeEvent], status: [SpaceStatus], conflict: [{ path: string, copy: string }],
 *   error: [LessSyncError & { path?: string }], event: [any] }} SpaceEvents
 */

/**
 * What the app gives a space.
 *
 * @typedef {object} SpaceParts
 * @property {string} id
 * @property {string} did  of this device
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {import("./sync_client.js").SyncClient} client
 * @property {import("./tabs.js").Tabs} tabs
 * @property {Access} access
 * @property {Merge} [merge]
 * @property {number} largeAbove  bytes
 * @property {import("./clock.js").Clock} clock
 * @property {() => number} random
 * @property {() => Date} now
 */

/**
 * How a space lets us in.
 *
 * @typedef {object} Access
 * @property {() => Promise<string | undefined>} ucan  undefined for a personal space
 * @property {() => boolean} mayWrite
 * @property {(epoch: number) => Promise<void>} learn
 */

const SETTLE_AGAIN_MS = 1000;

/** See the module. `app.space(id)` and `app.personal` give it. */
export class Space {
  #events = /** @type {Emitter<SpaceEvents>} */ (new Emitter());
  #parts;
  #kept;
  #downloads;
  #sending;
  #exchange;
  #syncing;
  #merges;

  /** @param {SpaceParts} parts */
  constructor(parts) {
    const { id, kept, keys, client, access, merge, largeAbove, clock, random, now } = parts;
    this.id = id;
    this.#parts = parts;
    this.#kept = kept;
    this.#merges = merge !== undefined;
    const tell = this.#tell.bind(this);
    const wall = () => now().getTime();
    const mayPush = access.mayWrite;
    const talk = { client, space: id, ucan: access.ucan, epoch: 1 };
    const merging = new Merging({ contents: kept.contents, merge, tell, now: wall });
    const intake = new Intake({ kept, keys, tell, merging, mayPush, now });
    const learn = () => this.#exchange.refreshKeys();
    const uploads = new Uploads({ talk, kept, keys, learn });
    const storage = new FileStorage();
    this.#sending = new Sending({ talk, kept, keys, storage, uploads, largeAbove, tell, now: wall });
    this.#downloads = new Downloads({ talk, kept, keys, learn });
    const parts_ = { talk, kept, keys, intake, sending: this.#sending, learn: access.learn, mayPush };
    this.#exchange = new Exchange(parts_);
    const isOnline = () => client.state === "online";
    this.#syncing = new Syncing({ exchange: this.#exchange, tell, isOnline, clock, random });
    kept.onWaiting = (waiting) => {
      this.#statusChanged();
      this.#parts.tabs.post({ kind: "waiting", space: id, waiting });
    };
  }

  /**
   * Listen: `change`, `status`, `conflict`, `event` and `error`.
   *
   * @template {keyof SpaceEvents} N
   * @param {N} name
   * @param {(...values: SpaceEvents[N]) => unknown} listener
   * @returns {() => void} to listen no more
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  /** The DID of this device's key. */
  get did() {
    return this.#parts.did;
  }

  /** @returns {SpaceStatus} */
  get status() {
    const { problem } = this.#syncing;
    const online = this.#parts.client.state === "online" && !problem;
    return { online, pending: this.#kept.waiting, lost: problem?.code === "access_lost" };
  }

  /**
   * Keep an entry. Resolves when it is on this device; it is sent as soon as there is a connection.
   *
   * @param {string} path
   * @param {any} value  bytes, a Blob, text (as UTF-8) or anything that JSON can say
   * @returns {Promise<void>}
   * @throws {Refused} `bad_path`, `read_only`; `other_kind`: a newer app keeps something else there; `unreadable`: what
   *   the server has there cannot be read
   * @throws {import("./errors.js").QuotaExceeded} there is no room; what was there before is still there
   */
  async put(path, value) {
    await this.putAll([[path, sourceOf(value)]]);
  }

  /**
   * Delete an entry, here at once and for all others once it is sent.
   *
   * @param {string} path
   * @returns {Promise<boolean>} whether there was one
   * @throws {Refused} as `put`
   */
  async delete(path) {
    return (await this.putAll([[path, undefined]])) > 0;
  }

  /**
   * Put and delete several entries, all in one step here and, unless one is large, in one push.
   *
   * @param {readonly (readonly [path: string, value: any, was?: string | null])[]} items  undefined deletes. `was`:
   *   the digest the entry must have, null for none
   * @returns {Promise<number>} how many have changed
   * @throws {LessSyncError} `changed`: one has another digest, and nothing was done; and as `put`
   */
  async putAll(items) {
    if (this.#syncing.stopped) throw new ClientClosed();
    if (!this.#parts.access.mayWrite()) throw new Refused("read_only", "you may only read");
    const wanted = [];
    try {
      for (const [given, value, was] of items) {
        const path = checkedPath(given);
        const id = await this.#parts.keys.recordId(path);
        const now = this.#parts.now().getTime();
        const content = value === undefined ? null : await this.#kept.contents.keep(sourceOf(value), now);
        wanted.push({ id, path, content, was });
      }
      const changed = await this.#writeAll(wanted);
      for (const { path, content } of changed) this.#changedHere(path, !content);
      if (changed.length > 0) this.#syncing.pushDue();
      return changed.length;
    } catch (error) {
      for (const { content } of wanted) if (content?.file) await this.#kept.contents.drop(content.file);
      throw error;
    }
  }

  /**
   * @param {{ id: string, path: string, content: Content | null, was: string | null | undefined }[]} wanted
   */
  async #writeAll(wanted) {
    const files = wanted.flatMap(({ content }) => (content?.file ? [this.#kept.keys.file(content.file)] : []));
    const group = wanted.length > 1 ? randomUuid() : null;
    const written = await this.#kept.change(
      wanted.map(({ id }) => id),
      (rows, owned) => {
        if (owned.includes(undefined)) throw new LessSyncError("changed", "written too slowly");
        return wanted.filter((one) => put(rows, one, group, this.#merges));
      },
      files,
    );
    const unused = wanted.filter((one) => !written.includes(one) && one.content?.file);
    for (const { content } of unused) await this.#kept.contents.drop(content?.file ?? "");
    return written;
  }

  /**
   * @param {string} path
   * @returns {Promise<Entry | undefined>}
   * @throws {LessSyncError} a large content that is not here cannot be fetched now: `not_fetched`, or why there is
   *   no connection
   */
  async get(path) {
    const id = await this.#parts.keys.recordId(checkedPath(path));
    for (;;) {
      const row = await this.#kept.row(id);
      if (!row || !row.local) return undefined;
      if (!isHere(row.local)) {
        await this.#downloads.fetch(row).catch(async (error) => {
          // What replaced it meanwhile is fetched instead.
          if ((await this.#kept.row(id))?.local?.digest === row.local?.digest) throw error;
        });
        continue;
      }
      const bytes = row.local.bytes ?? (await this.#whole(row, row.local));
      if (bytes) return entryOf(row, bytes);
    }
  }

  /** The bytes of a content that is kept apart; undefined: it was replaced just now. @param {Row} row @param {Content} local */
  async #whole(row, local) {
    try {
      const bytes = await this.#kept.contents.bytes(local);
      await this.#kept.contents.used(local.file ?? "");
      return bytes;
    } catch (error) {
      if ((await this.#kept.row(row.id))?.rev === row.rev) throw error;
      return undefined;
    }
  }

  /**
   * What is here below a prefix, by path. Large entries come without their bytes.
   *
   * @param {string} [prefix]  of the path: "todo/", say
   * @returns {Promise<Entry[]>}
   */
  async list(prefix = "") {
    const found = [];
    for await (const row of this.#kept.here(prefix.normalize("NFC"))) found.push(entryOf(row));
    return found;
  }

  /**
   * Resolves when nothing waits to be sent and all that was on the server by now is here; offline, later.
   *
   * @returns {Promise<void>}
   * @throws {LessSyncError} what will not pass by itself: `access_lost`, `key_mismatch` ...
   */
  async settled() {
    const { tabs, clock } = this.#parts;
    const id = randomUuid();
    /** @type {string | undefined} */
    let error;
    try {
      for (;;) {
        if (tabs.leads || this.#syncing.stopped) {
          if (await this.#syncing.settled()) return;
          continue;
        }
        // Another tab syncs, or none that is connected. If it goes away, the next one is asked, or this one leads.
        tabs.post({ kind: "settle", space: this.id, id });
        await rest(clock, SETTLE_AGAIN_MS, (wake) => this.#asked.set(id, (found) => ((error = found), wake())));
        if (error === "") return;
        if (error !== undefined) throw new LessSyncError(error, "not synced");
      }
    } finally {
      this.#asked.delete(id);
    }
  }

  /** @type {Map<string, (error: string) => void>} */
  #asked = new Map();

  // For the app that holds the space.

  /** Begin: what waits is counted, and if this tab leads it syncs. @returns {Promise<void>} */
  async open() {
    await this.#kept.outbox();
    this.#syncing.lead(this.#parts.tabs.leads);
  }

  /** Whether this tab is the one that syncs. @param {boolean} leads */
  lead(leads) {
    this.#syncing.lead(leads);
    if (!leads) return;
    // What a killed tab has left of contents that no entry shows.
    this.#kept.contents.sweep().catch((error) => this.#tell("error", error));
  }

  /** The connection has another state. */
  connectionChanged() {
    this.#syncing.connectionChanged();
    this.#statusChanged();
  }

  /** Somebody has said something. @param {any} message */
  said(message) {
    this.#events.emit("event", message);
  }

  /** There is another token, key or grant: try again. */
  retry() {
    this.#sending.storage.hope();
    this.#syncing.retry();
    this.#statusChanged();
  }

  /** Hear of the space's presence and events even if another tab syncs. @returns {Promise<void>} */
  async listen() {
    if (!this.#parts.tabs.leads) await this.#exchange.subscribe();
  }

  /** An announcement of this space. @param {any} notice */
  notice(notice) {
    this.#syncing.notice(notice);
  }

  /** Another tab has said something about this space. @param {any} message */
  heard(message) {
    if (message.kind === "change") {
      const { path, deleted } = message;
      this.#events.emit("change", { path, deleted, origin: "remote" });
      this.#syncing.pushDue();
    } else if (message.kind === "waiting") {
      this.#kept.waiting = message.waiting;
      this.#statusChanged();
    } else if (message.kind === "settled") {
      this.#asked.get(message.id)?.(message.error ?? "");
    } else if (message.kind === "settle" && this.#parts.tabs.leads) {
      const answer = { kind: /** @type {const} */ ("settled"), space: this.id, id: message.id };
      this.#syncing.settled().then(
        () => this.#parts.tabs.post(answer),
        (error) => this.#parts.tabs.post({ ...answer, error: error.code ?? "failed" }),
      );
    }
  }

  /** End. @returns {Promise<void>} */
  async close() {
    const ended = this.#syncing.stop();
    for (const tell of this.#asked.values()) tell("closed");
    await ended;
  }

  // Telling.

  /** @param {string} name @param {any} detail */
  #tell(name, detail) {
    if (name === "problem") {
      this.#statusChanged();
      return;
    }
    if (name === "change") {
      this.#parts.tabs.post({ kind: "change", space: this.id, path: detail.path, deleted: detail.deleted });
    }
    this.#events.emit(/** @type {keyof SpaceEvents} */ (name), detail);
  }

  /** @param {string} path @param {boolean} deleted */
  #changedHere(path, deleted) {
    this.#tell("change", { path, deleted, origin: "local" });
  }

  #statusChanged() {
    this.#events.emit("status", this.status);
  }
}

/** @param {string} given */
function checkedPath(given) {
  const path = given.normalize("NFC");
  const problem = pathProblem(path);
  if (problem !== undefined) throw new Refused("bad_path", problem);
  return path;
}

/**
 * Put one entry; false when it is there already.
 *
 * @param {Map<string, Row>} rows
 * @param {{ id: string, path: string, content: Content | null, was: string | null | undefined }} wanted
 * @param {string | null} group
 * @param {boolean} merges  whether what both sides had is wanted by the app's `merge`
 */
function put(rows, { id, path, content, was }, group, merges) {
  const row = /** @type {Row} */ (rows.get(id));
  const { local, base, pending } = row;
  const digest = local?.digest ?? null;
  if (was !== undefined && was !== digest) throw new LessSyncError("changed", `${path}: it has changed`);
  if (pending && ![OLDER, UNPROVEN].includes(pending.reason)) {
    // It would never be sent: nobody knows what it would replace.
    throw new Refused(pending.reason === OTHER_KIND ? "other_kind" : "unreadable", `${path}: ${pending.reason}`);
  }
  if ((content?.digest ?? null) === digest && (!local || isHere(local))) return false;
  const wasAgreed = merges && local?.bytes !== undefined && base?.digest === digest;
  const kept = wasAgreed && base ? { ...base, bytes: /** @type {Uint8Array} */ (local.bytes) } : base;
  // What still waits with others stays with them: they may say what this entry no longer does.
  rows.set(id, { ...row, path, local: content, base: kept, group: group ?? row.group });
  return true;
}
