/**
 * Records in: what the server has, brought into the store, noted, or merely told.
 *
 *     open -> is it older than what was seen? -> decide (plan.js) -> one step for the whole batch
 *
 * Only conflicts take steps of their own, as an app may have to be asked. Everything may come twice: what is not
 * newer than the row's base is passed over.
 */

import { hex, sha256 } from "./bytes.js";
import { LessSyncError, Undecryptable } from "./errors.js";
import { NEW_META, dropContent, noteContent } from "./kept.js";
import { MadeOf } from "./made_of.js";
import { conflictPath, pathProblem } from "./paths.js";
import { ForeignRecord, OtherKind, decodePlain } from "./plaintext.js";
import { decide } from "./plan.js";
import * as rules from "./rows.js";
import { readOne } from "./store.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Content} Content */
/** @typedef {import("./plan.js").Remote} Remote */
/** @typedef {import("./plaintext.js").PlainPath} PlainPath */
/** @typedef {import("./plaintext.js").PlainContent} PlainContent */

/**
 * A record as the server gives it, in a pull or an announcement.
 *
 * @typedef {object} Incoming
 * @property {string} id
 * @property {number} cursor
 * @property {Uint8Array} [blob]
 * @property {Uint8Array} [dek]
 * @property {boolean} [deleted]
 */

/**
 * A record that was looked into.
 *
 * @typedef {{ id: string, cursor: number } & (
 *   { kind: "tombstone" | "undecryptable" | "other" } | { kind: "refused", reason: string, path: string } |
 *   { kind: "content", content: PlainContent } | { kind: "path", plain: PlainPath, digest: string | null })} Opened
 */

/** @typedef {Opened & { kind: "path" }} OpenedPath */

const MERGES_MAX = 3;
const COPIES_MAX = 1000;

/** What a step has gathered, to be told once it is written. */
class Step {
  /**
   * @param {Map<string, Row>} rows
   * @param {import("./kept.js").Meta} meta
   * @param {import("./rows.js").Write} write
   */
  constructor(rows, meta, write) {
    this.rows = rows;
    this.meta = { ...meta };
    this.write = write;
    /** @type {[string, any][]} */
    this.events = [];
    /** @type {OpenedPath[]} */
    this.conflicts = [];
    this.rolledBack = 0;
  }

  /** @param {string} path @param {boolean} [deleted] */
  changed(path, deleted = false) {
    this.events.push(["change", { path, deleted, origin: "remote" }]);
  }

  /** @param {string} code @param {string} path @param {string} message */
  trouble(code, path, message) {
    this.events.push(["error", Object.assign(new LessSyncError(code, `${path}: ${message}`), { path })]);
  }
}

/** The records of a space were written with another key; nothing was changed. */
export class KeyMismatch extends LessSyncError {
  /** @param {number} records */
  constructor(records) {
    super("key_mismatch", `this key opens none of ${records} records`);
  }
}

/**
 * @typedef {object} IntakeParts
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {(name: string, detail: any) => void} tell
 * @property {import("./entry.js").Merging} merging
 * @property {() => boolean} mayPush
 * @property {() => Date} now  names conflict copies
 */

/**
 * See the module.
 *
 * @extends {MadeOf<IntakeParts>}
 */
export class Intake extends MadeOf {
  /** @type {Map<string, number>} */
  #undecryptable = new Map();
  #opened = 0;

  rolledBack = 0;

  /** Begin a pull: what an earlier one has left undone will come again. */
  start() {
    this.#undecryptable.clear();
    this.#opened = 0;
    this.rolledBack = 0;
  }

  /**
   * Take records in.
   *
   * @param {readonly Incoming[]} records
   * @throws {import("./errors.js").QuotaExceeded} no room; the records will come again
   */
  async receive(records) {
    const opened = await Promise.all(records.map((record) => this.#open(record)));
    for (const one of opened) {
      if (one.kind === "tombstone") await this.#mayBeLost(one.id);
      else if (one.kind !== "undecryptable") this.#opened += 1;
    }
    const { keys } = this.kept;
    const apart = opened.filter((one) => one.kind === "tombstone" || one.kind === "content").map((one) => one.id);
    const more = [keys.meta, ...apart.flatMap((id) => [keys.content(id), keys.upload(id)])];
    const ids = [...new Set(opened.map((one) => one.id))];
    const step = await this.kept.change(
      ids,
      (rows, [meta, ...known], write) => {
        const made = new Step(rows, meta ?? NEW_META, write);
        const contents = new Map(apart.map((id, index) => [id, known.slice(2 * index, 2 * index + 2)]));
        opened.forEach((one) => this.#apply(made, one, contents.get(one.id) ?? []));
        if (made.meta.proves !== meta?.proves || made.meta.agreed !== meta?.agreed) write(keys.meta, made.meta);
        return made;
      },
      more,
    );
    this.rolledBack += step.rolledBack;
    step.events.forEach(([name, detail]) => this.tell(name, detail));
    for (const conflict of step.conflicts) await this.#resolve(conflict);
  }

  /**
   * Name what could not be opened, and remember that.
   *
   * @throws {KeyMismatch} nothing could be, and nothing ever was
   */
  async finish() {
    const closed = this.#undecryptable;
    if (closed.size === 0) return;
    if (this.#opened === 0 && !(await this.kept.meta()).agreed) throw new KeyMismatch(closed.size);
    await this.kept.change([...closed.keys()], (rows) => {
      for (const [id, cursor] of closed) {
        const row = /** @type {Row} */ (rows.get(id));
        rows.set(id, { ...row, pending: { cursor, reason: rules.UNDECRYPTABLE } });
      }
    });
    this.tell("error", new Undecryptable(`this key opens none of ${closed.size} records`));
  }

  /** @param {Incoming} record @returns {Promise<Opened>} */
  async #open({ id, cursor, blob, dek, deleted }) {
    const at = { id, cursor };
    if (deleted || !blob) return { ...at, kind: "tombstone" };
    try {
      const plain = decodePlain(await this.keys.open(id, { blob, dek: dek ?? new Uint8Array() }));
      if (plain.kind === "content") return { ...at, kind: "content", content: plain };
      const { path } = plain;
      let problem = pathProblem(path);
      if (problem === undefined && (await this.keys.recordId(path)) !== id) {
        problem = "the record is of another path";
      }
      if (problem !== undefined) return { ...at, kind: "refused", reason: problem, path };
      return { ...at, kind: "path", plain, digest: await digestOf(plain) };
    } catch (error) {
      if (error instanceof Undecryptable) return { ...at, kind: "undecryptable" };
      if (error instanceof OtherKind) return { ...at, kind: "other" };
      if (error instanceof ForeignRecord) return { ...at, kind: "refused", reason: rules.LATER, path: "" };
      throw error;
    }
  }

  /**
   * If a row points to what was deleted, the server has lost a content: who has it sends it again. Where the
   * content was replaced, the row's next record says so and takes the mark away.
   *
   * @param {string} content
   */
  async #mayBeLost(content) {
    const id = await readOne(this.kept.store, this.kept.keys.pointer(content));
    if (id === undefined) return;
    await this.kept.change([id], (rows) => {
      const row = /** @type {Row} */ (rows.get(id));
      if (row.content === content) rows.set(id, { ...row, lost: true });
    });
  }

  /**
   * @param {Step} step
   * @param {Opened} one
   * @param {any[]} known  its content record and its upload, if it is one
   */
  #apply(step, one, known) {
    const row = /** @type {Row} */ (step.rows.get(one.id));
    const { id, cursor } = one;
    if (row.base !== null && cursor <= row.base.cursor) return;
    switch (one.kind) {
      case "tombstone":
        if (known.some((found) => found !== undefined)) dropContent(this.kept.keys, step.write, id);
        else if (row.path === "") step.rows.set(id, { ...rules.settled(row), base: { cursor, digest: null } });
        else this.#settle(step, row, { cursor, digest: null }, row.base, undefined);
        return;
      case "undecryptable":
        this.#undecryptable.set(id, cursor);
        return;
      case "other":
        step.meta.proves = true;
        step.rows.set(id, { ...row, pending: { cursor, reason: rules.OTHER_KIND } });
        if (row.local) step.trouble("other_kind", row.path, rules.OTHER_KIND); // it is not sent any more
        return;
      case "refused":
        step.rows.set(id, { ...row, pending: { cursor, reason: one.reason } });
        step.trouble("refused_record", row.path || one.path || id, one.reason);
        return;
      case "content":
        step.meta.proves = true;
        this.#applyContent(step, row, one.content, cursor, known[1]);
        return;
      case "path":
        this.#applyPath(step, row, one);
    }
  }

  /**
   * @param {Step} step
   * @param {Row} row
   * @param {PlainContent} content
   * @param {number} cursor
   * @param {any} upload
   */
  #applyContent(step, row, { size, digest, partBytes, parts }, cursor, upload) {
    if (row.path !== "") {
      // No release puts one in the place of a path, and what is pushed there would conflict for ever.
      step.rows.set(row.id, { ...row, pending: { cursor, reason: rules.OTHER_KIND } });
      return;
    }
    const known = { cursor, size, digest: hex(digest), partBytes, parts };
    noteContent(this.kept.keys, step.write, row.id, known, upload);
    if (row.pending) step.rows.set(row.id, rules.settled(row)); // it could not be opened before
  }

  /**
   * @param {Step} step
   * @param {Row} found
   * @param {OpenedPath} one
   */
  #applyPath(step, found, one) {
    const { plain, cursor, digest } = one;
    const pointer = plain.kind === "large" ? plain.content : null;
    // What was sent of a content has come to its end once a record points to it.
    if (pointer !== null) step.write(this.kept.keys.upload(pointer), undefined);
    const row = { ...found, path: plain.path, content: pointer };
    if (plain.version > 0) step.meta.proves = true;
    if (plain.version < found.version) {
      // Somebody wrote a later version: who shows this one again goes back.
      step.rolledBack += 1;
      step.rows.set(one.id, { ...row, pending: { cursor, reason: rules.OLDER } });
      step.trouble("rolled_back", plain.path, rules.OLDER);
      return;
    }
    const remote = { cursor, digest };
    const known = isFork(found, remote, plain.version) ? null : knownOf(found, remote);
    this.#settle(step, { ...row, version: plain.version }, remote, known, one);
  }

  /**
   * @param {Step} step
   * @param {Row} row
   * @param {Remote} remote
   * @param {Remote | null} base  what both sides had, as far as this decision is concerned
   * @param {OpenedPath | undefined} one  undefined: a bare tombstone
   */
  #settle(step, row, remote, base, one) {
    const proven = one !== undefined || !step.meta.proves;
    const known = one === undefined ? knownOf(row, remote) : base;
    const unproven = { ...row, pending: { cursor: remote.cursor, reason: rules.UNPROVEN } };
    let action = decide(row.local?.digest ?? null, known, remote);
    // What is not on this device cannot be kept beside the other one; whoever replaced it had it.
    if (action === "both" && row.local && !rules.isHere(row.local)) action = "take";
    if (remote.digest !== null) step.meta.agreed = true;
    if (action === "both" && one !== undefined) {
      step.conflicts.push(one);
    } else if (action === "take" && one !== undefined) {
      step.rows.set(row.id, { ...rules.settled(row), base: remote, local: contentOf(one) });
      step.changed(row.path);
    } else if (action === "delete" && proven) {
      step.rows.set(row.id, { ...rules.settled(row), base: remote, local: null });
      step.changed(row.path, true);
    } else if (action === "delete") {
      step.rows.set(row.id, unproven);
      step.trouble("unproven_deletion", row.path, rules.UNPROVEN);
    } else if (!proven && row.base?.digest && !row.local && this.mayPush()) {
      step.rows.set(row.id, unproven); // deleted here as well: the push sends the proof
    } else {
      step.rows.set(row.id, { ...rules.settled(row), base: remote, local: noted(row, remote, one) });
    }
  }

  /**
   * Keep both contents of a path, or the one that the app makes of them.
   *
   * @param {OpenedPath} one
   */
  async #resolve(one) {
    for (let attempt = 1; attempt <= COPIES_MAX; attempt++) {
      const before = await this.kept.row(one.id);
      const asked = before !== undefined && attempt <= MERGES_MAX;
      const merged = asked ? await this.merging.merged(before, contentOf(one)) : undefined;
      const copy = conflictPath(one.plain.path, this.now(), attempt);
      const copyId = await this.keys.recordId(copy);
      const step = await this.kept.change(
        [one.id, copyId],
        (rows, [meta], write) => {
          const made = new Step(rows, meta ?? NEW_META, write);
          this.#apply(made, one, []); // what is here may be another one by now
          if (made.conflicts.length === 0) return made;
          const row = /** @type {Row} */ (rows.get(one.id));
          if (row.local?.digest !== before?.local?.digest) return undefined;
          return keepBoth(made, one, merged, { id: copyId, path: copy }) ? made : undefined;
        },
        [this.kept.keys.meta],
      );
      if (step) {
        step.events.forEach(([name, detail]) => this.tell(name, detail));
        return;
      }
    }
    throw new LessSyncError("conflicts", `${one.plain.path}: too many copies`);
  }
}

/**
 * @param {Step} step
 * @param {OpenedPath} one
 * @param {Content | undefined} merged
 * @param {{ id: string, path: string }} copy
 * @returns {boolean}  false when the copy's path is taken
 */
function keepBoth(step, one, merged, copy) {
  const row = /** @type {Row} */ (step.rows.get(one.id));
  const beside = /** @type {Row} */ (step.rows.get(copy.id));
  const { plain, cursor, digest } = one;
  const theirs = contentOf(one);
  const content = plain.kind === "large" ? plain.content : null;
  const taken = { ...rules.settled(row), version: plain.version, content, base: { cursor, digest }, local: theirs };
  if (merged) {
    const differs = merged.digest !== theirs.digest;
    const base = theirs.bytes ? { cursor, digest, bytes: theirs.bytes } : taken.base;
    step.rows.set(row.id, differs ? { ...taken, base, local: merged } : taken);
    step.changed(row.path);
    return true;
  }
  if (beside.rev !== 0) return false;
  step.rows.set(copy.id, { ...beside, path: copy.path, local: row.local });
  step.rows.set(row.id, taken);
  step.events.push(["conflict", { path: row.path, copy: copy.path }]);
  step.changed(row.path);
  step.changed(copy.path);
  return true;
}

/** @param {PlainPath} plain @returns {Promise<string | null>} */
async function digestOf(plain) {
  if (plain.kind === "deleted") return null;
  return hex(plain.kind === "large" ? plain.digest : await sha256(plain.content));
}

/** The content that a record brings. @param {OpenedPath} one @returns {Content} */
function contentOf({ plain, digest }) {
  const mtime = Number(plain.mtimeNs / 1_000_000n);
  const common = { digest: digest ?? "", mtime };
  if (plain.kind === "large") return { ...common, size: plain.size, from: plain.content };
  return { ...common, size: plain.content.length, bytes: plain.content };
}

/**
 * What is here once both sides agree, or once what is here is known to be newer: the same as before, but a
 * content that is to be fetched is where the newest record says.
 *
 * @param {Row} row
 * @param {Remote} remote
 * @param {OpenedPath | undefined} one
 */
function noted({ local }, remote, one) {
  if (!local || rules.isHere(local) || local.digest !== remote.digest || one === undefined) return local;
  return contentOf(one);
}

/** What both sides had: the server's version itself if we pushed it and never heard so. */
function knownOf(/** @type {Row} */ row, /** @type {Remote} */ remote) {
  return row.sent?.includes(remote.digest ?? "") ? remote : row.base;
}

/**
 * Whether this is another record of the version that both sides had, as after a backup was restored. Neither of
 * the two follows the other, so both are kept. Format 1 has no versions to tell by.
 *
 * @param {Row} row
 * @param {Remote} remote
 * @param {number} version
 */
function isFork(row, remote, version) {
  if (version === 0 || version !== row.version || row.pending || !row.base?.digest) return false;
  return remote.digest === null || remote.digest !== row.base.digest;
}
