/**
 * Changes out: what is here and the server has not, sealed a message at a time, large contents one by one.
 *
 * Contents go first, large ones after them, deletions last, so that nothing is gone on the server while its new
 * name is still on the way. What is about to be sent is noted before it is; whatever a kill or a lost answer
 * leaves open, the next pull tells. Nothing is tried again here.
 */

import { fromHex } from "./bytes.js";
import { LessSyncError, RequestFailed, ServerUnavailable } from "./errors.js";
import { ContentMoved } from "./contents.js";
import { NEW_META, dropContent } from "./kept.js";
import { NoFileStorage } from "./file_storage.js";
import { LIMITS } from "./limits.js";
import { MadeOf } from "./made_of.js";
import { encodeFile } from "./plaintext.js";
import { VERSION_MAX, settled, toSend } from "./rows.js";
import { contentBytesMax } from "./space_keys.js";
import { PartsTooLarge } from "./uploads.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./kept.js").Waiting} Waiting */

const CHANGE_OVERHEAD_BYTES = 160;
const PUSH_BYTES_MAX = LIMITS.frameBytes - 1024;
const CHANGES_MAX = 1000;
const ATTEMPTS_MAX = 4;
/** Versions of one entry that are remembered as sent and not acknowledged. */
const SENT_MAX = 9;
const CONTENT_GONE = "its content is gone";
/** So many large contents may fail in one pass before the server is left alone for a while. */
const TROUBLE_MAX = 2;

/**
 * One space over one client, as pulling, pushing and files share it. `epoch` is the key generation that the
 * server named last, `ucan` what lets us into a shared space.
 *
 * @typedef {object} Talk
 * @property {import("./sync_client.js").SyncClient} client
 * @property {string} space
 * @property {() => Promise<string | undefined>} ucan  undefined for the personal space
 * @property {number} epoch
 */

/**
 * A row and the record that says it.
 *
 * @typedef {object} Ready
 * @property {Row} row  as it was read
 * @property {number} expected
 * @property {{ blob: Uint8Array, dek: Uint8Array }} sealed
 * @property {string | null} digest
 * @property {number} version
 * @property {string | null} content  of a large one, its content record
 * @property {{ id: string, cursor: number } | undefined} freed  what nothing points to after this
 */

/**
 * @typedef {object} SendingParts
 * @property {Talk} talk
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {import("./file_storage.js").FileStorage} storage
 * @property {import("./uploads.js").Uploads} uploads
 * @property {number} largeAbove  content of more bytes goes to file storage
 * @property {(name: string, detail: any) => void} tell
 * @property {() => number} now  milliseconds since 1970
 */

/**
 * See the module.
 *
 * @extends {MadeOf<SendingParts>}
 */
export class Sending extends MadeOf {
  /** Contents that cannot be sent as things are, by record: each was told once. @type {Map<string, string>} */
  stuck = new Map();
  /** How many rows the server has taken so far. */
  sent = 0;

  /**
   * Push everything that waits. False when a pull must come first.
   *
   * @param {boolean} afterPull  whether all that the server has was seen just now
   * @returns {Promise<boolean>}
   * @throws {LessSyncError} as `SyncClient.push` and the calls about files
   */
  async push(afterPull) {
    const waiting = await this.kept.outbox();
    const contents = waiting.filter((one) => one.kind === "content");
    const without = this.storage.trouble;
    const large = contents.filter((one) => without === undefined && one.size > this.#inRecordMax(""));
    // What was written in one step goes in one push, and after the large ones among it.
    const behind = new Set(large.map((one) => one.group ?? one.id));
    const units = grouped(waiting.filter((one) => !large.includes(one)));
    const first = units.filter((unit) => !unit.some((one) => behind.has(one.group ?? one.id)) && hasContent(unit));
    const last = units.filter((unit) => !first.includes(unit));
    if (!(await this.#pushSmall(first, without))) return false;
    if (!(await this.#pushLarge(large))) return false;
    if (!(await this.#pushSmall(last, without))) return false;
    return !afterPull || this.#tidy(large);
  }

  /** @param {string} path */
  #inRecordMax(path) {
    return Math.min(this.largeAbove, contentBytesMax(path));
  }

  /**
   * @param {readonly Waiting[][]} units  each for one push, if it fits into one
   * @param {string | undefined} without  why there is no file storage
   */
  async #pushSmall(units, without) {
    /** @type {Ready[]} */
    let batch = [];
    for (const unit of units) {
      const ready = [];
      for (const { id } of unit) ready.push((await this.#ready(id, without)) ?? []);
      const more = ready.flat();
      if (batch.length > 0 && !fits([...batch, ...more])) {
        if (!(await this.#send(batch))) return false;
        batch = [];
      }
      for (const one of more) {
        // A unit that no push can hold is sent in several.
        if (batch.length > 0 && !fits([...batch, one])) {
          if (!(await this.#send(batch))) return false;
          batch = [];
        }
        batch.push(one);
      }
    }
    return this.#send(batch);
  }

  /** @param {string} id @param {string | undefined} without */
  async #ready(id, without) {
    const row = await this.kept.row(id);
    if (!row || toSend(row) === undefined) return undefined;
    if (row.local && row.local.size > contentBytesMax(row.path)) {
      this.#isStuck(row, `too large for a record: ${without ?? "not sent apart"}`);
      return undefined;
    }
    try {
      this.stuck.delete(id);
      return await this.#seal(row, null);
    } catch (error) {
      if (!(error instanceof ContentMoved)) throw error;
      // The next pass finds what is there now.
      if ((await this.kept.row(id))?.rev === row.rev) this.#isStuck(row, CONTENT_GONE);
      return undefined;
    }
  }

  /**
   * Encrypt what a row says; `content` is the content record of a large one.
   *
   * @param {Row} row
   * @param {string | null} content
   * @returns {Promise<Ready>}
   */
  async #seal(row, content) {
    const { path, local } = row;
    const sending = /** @type {{ expected: number }} */ (toSend(row));
    const version = Math.min(row.version + 1, VERSION_MAX);
    const mtimeNs = BigInt(Math.trunc(local?.mtime ?? this.now())) * 1_000_000n;
    const head = { version, path, mtimeNs };
    /** @type {import("./plaintext.js").PlainPath} */
    let plain = { ...head, kind: "deleted", content: new Uint8Array() };
    if (local && content !== null) {
      plain = { ...head, kind: "large", size: local.size, digest: fromHex(local.digest), content };
    } else if (local) {
      plain = { ...head, kind: "file", content: await this.kept.contents.bytes(local) };
    }
    const sealed = await this.keys.seal(row.id, encodeFile(plain), this.talk.epoch);
    const former = row.content === null || row.content === content ? undefined : row.content;
    const known = former && (await this.kept.content(former));
    const freed = former && known ? { id: former, cursor: known.cursor } : undefined;
    return { row, expected: sending.expected, sealed, digest: local?.digest ?? null, version, content, freed };
  }

  /**
   * Note what is about to be sent, send it, note what came of it. What changed since it was sealed is left out.
   *
   * @param {readonly Ready[]} batch
   */
  async #send(batch) {
    const ids = batch.map((one) => one.row.id);
    const ready = await this.kept.change(ids, (rows) =>
      batch.filter(({ row, digest }) => {
        const now = /** @type {Row} */ (rows.get(row.id));
        if (now.rev !== row.rev) return false;
        // Another tab's push, or one whose answer was lost, may still be what the next pull brings.
        const sent = new Set(now.sent).add(digest ?? "");
        rows.set(row.id, { ...now, sent: [...sent].slice(-SENT_MAX) });
        return true;
      }),
    );
    if (ready.length === 0) return true;
    const changes = ready.flatMap(({ row, expected, sealed, freed }) => [
      { id: row.id, blob: sealed.blob, expected_cursor: expected, dek: sealed.dek },
      ...(!freed ? [] : [{ id: freed.id, expected_cursor: freed.cursor }]),
    ]);
    const cursor = await this.#push(changes);
    if (cursor === undefined) return false;
    await this.#acknowledge(ready, cursor);
    return true;
  }

  /**
   * Push all or nothing, and return the cursor; undefined when a pull must come first.
   *
   * @param {{ id: string, blob?: Uint8Array, expected_cursor: number, dek?: Uint8Array }[]} changes
   * @returns {Promise<number | undefined>}
   */
  async #push(changes) {
    const { client, space, ucan } = this.talk;
    const { ok, cursor, error } = await client.push(space, changes, { ucan: await ucan() });
    if (ok) return cursor;
    if (error === "conflict" || error === "key_generation_stale") return undefined;
    throw new RequestFailed(error ?? "internal", "the server does not store it");
  }

  /**
   * @param {readonly Ready[]} batch
   * @param {number} cursor
   */
  async #acknowledge(batch, cursor) {
    const { keys, contents } = this.kept;
    this.sent += batch.length;
    await this.kept.change(
      batch.map((one) => one.row.id),
      (rows, [meta = NEW_META], write) => {
        batch.forEach((one) => acknowledged(rows, one, cursor));
        for (const { content, freed } of batch) {
          if (freed) dropContent(keys, write, freed.id);
          if (content !== null) write(keys.upload(content), undefined);
        }
        // Only when nobody else wrote in between is everything up to it known.
        const to = meta.cursor + 1 === cursor ? cursor : meta.cursor;
        write(keys.meta, { ...meta, cursor: to, proves: true, agreed: true });
      },
      [keys.meta],
    );
    for (const { row, content } of batch) {
      if (content !== null && row.local?.file) await contents.mayGo(row.id, row.local.file, row.local.size);
    }
  }

  /** @param {number} cursor */
  async #advance(cursor) {
    if ((await this.kept.meta()).cursor + 1 === cursor) await this.kept.advance(cursor);
  }

  // Large contents.

  /**
   * Push all large contents. One that the server is not ready for holds up no other, but deletions, as it may be
   * what was deleted under a new name.
   *
   * @param {readonly Waiting[]} waiting
   */
  async #pushLarge(waiting) {
    /** @type {Error[]} */
    const trouble = [];
    for (const { id } of waiting) {
      try {
        if (!(await this.#pushOne(id))) return false;
      } catch (error) {
        if (!(error instanceof ServerUnavailable) || trouble.push(error) > TROUBLE_MAX) throw error;
      }
    }
    if (trouble[0]) throw trouble[0];
    return true;
  }

  /** @param {string} id */
  async #pushOne(id) {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const row = await this.kept.row(id);
      if (!row || !row.local || toSend(row) === undefined) return true;
      try {
        return await this.#upload(row, row.local);
      } catch (error) {
        if (error instanceof ContentMoved) {
          if ((await this.kept.row(id))?.rev !== row.rev) continue;
          this.#isStuck(row, CONTENT_GONE);
          return true;
        }
        if (error instanceof PartsTooLarge) {
          const { record, cursor } = error.upload;
          if (cursor !== null && !(await this.#delete([{ id: record, cursor }]))) return false;
          if (cursor === null) await this.kept.dropContents([record]);
          continue;
        }
        if (!(error instanceof NoFileStorage)) throw error;
        // The next pass sends what fits into its record, and takes away the content record.
        this.storage.trouble = error.message;
        return true;
      }
    }
    return true; // it changes faster than it can be sent; the next pass goes on
  }

  /**
   * The content record first, the parts next, the record of the path last: that is what others see.
   *
   * @param {Row} row
   * @param {import("./rows.js").Content} local
   */
  async #upload(row, local) {
    const upload = await this.uploads.begin(local);
    if (upload.cursor === null) {
      const sealed = await this.uploads.sealContent(upload);
      const cursor = await this.#push([{ id: upload.record, ...sealed, expected_cursor: 0 }]);
      if (cursor === undefined) return false;
      const { size, digest, partBytes, parts } = upload;
      const known = { cursor, size, digest, partBytes, parts: parts.map((part) => part.id) };
      await this.kept.putContent(upload.record, known);
      await this.#advance(cursor);
    }
    if (!(await this.uploads.send(upload, local))) return false;
    const now = await this.kept.row(row.id);
    if (now?.local?.digest !== local.digest || toSend(now) === undefined) throw new ContentMoved();
    return this.#send([await this.#seal(now, upload.record)]);
  }

  /**
   * Delete content records of ours that nothing points to; the server frees their parts.
   *
   * @param {readonly Waiting[]} large  what was to be sent in this pass
   */
  async #tidy(large) {
    const uploads = await this.kept.uploads();
    if (uploads.length === 0) return true;
    const rows = await this.kept.rows(large.map((one) => one.id));
    const wanted = new Set(rows.map((row) => row?.local?.digest));
    const unwanted = uploads.filter((one) => !wanted.has(one.digest));
    const pointers = await this.kept.store.read(unwanted.map((one) => this.kept.keys.pointer(one.record)));
    const ended = unwanted.filter((one, index) => one.cursor === null || pointers[index] !== undefined);
    await this.kept.store.update([], (_, write) =>
      ended.forEach(({ record }) => write(this.kept.keys.upload(record), undefined)),
    );
    const left = unwanted.filter((one) => !ended.includes(one));
    return this.#delete(left.map(({ record, cursor }) => ({ id: record, cursor: cursor ?? 0 })));
  }

  /** @param {readonly { id: string, cursor: number }[]} contents */
  async #delete(contents) {
    for (let at = 0; at < contents.length; at += CHANGES_MAX) {
      const some = contents.slice(at, at + CHANGES_MAX);
      const cursor = await this.#push(some.map((one) => ({ id: one.id, expected_cursor: one.cursor })));
      if (cursor === undefined) return false;
      await this.kept.dropContents(some.map((one) => one.id));
      await this.#advance(cursor);
    }
    return true;
  }

  /** @param {Row} row @param {string} why */
  #isStuck(row, why) {
    if (this.stuck.get(row.id) === why) return;
    this.stuck.set(row.id, why);
    this.tell("error", Object.assign(new LessSyncError("too_large", `${row.path}: ${why}`), { path: row.path }));
  }
}

/**
 * The server has taken a row at this cursor; what was put there meanwhile is sent after it.
 *
 * @param {Map<string, Row>} rows
 * @param {Ready} ready
 * @param {number} cursor
 */
function acknowledged(rows, { row, digest, version, content }, cursor) {
  const now = /** @type {Row} */ (rows.get(row.id));
  if (now.base !== null && now.base.cursor >= cursor) return; // a pull was faster
  const same = now.local?.digest === digest;
  const bytes = same ? undefined : row.local?.bytes;
  const base = !bytes ? { cursor, digest } : { cursor, digest, bytes };
  const local = same && now.local && content !== null ? { ...now.local, from: content } : now.local;
  const group = same ? null : now.group;
  rows.set(row.id, { ...settled(now), base, local, version: Math.max(version, now.version), content, group });
}

/** Whether one push can hold it all. @param {readonly Ready[]} batch */
function fits(batch) {
  const bytes = batch.reduce((sum, { sealed }) => sum + 2 * CHANGE_OVERHEAD_BYTES + sealed.blob.length + 44, 0);
  return bytes <= PUSH_BYTES_MAX && 2 * batch.length <= CHANGES_MAX;
}

/** @param {readonly Waiting[]} unit */
function hasContent(unit) {
  return unit.some((one) => one.kind === "content");
}

/**
 * What waits, in units that belong into one push.
 *
 * @param {readonly Waiting[]} waiting
 * @returns {Waiting[][]}
 */
function grouped(waiting) {
  /** @type {Map<string, Waiting[]>} */
  const units = new Map();
  for (const one of waiting) {
    const unit = units.get(one.group ?? one.id) ?? [];
    units.set(one.group ?? one.id, unit);
    unit.push(one);
  }
  return [...units.values()];
}
