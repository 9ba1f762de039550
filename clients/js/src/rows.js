/**
 * What is remembered of each record of a space, and what of it waits to be sent.
 *
 * A row has four parts. *Local* is what is here. The *base* is what both sides had. *Pending* is set when the
 * server has something newer that could not be applied. *Sent* is what is on its way, so that an edit made after a
 * push whose answer was lost, or is another tab's, is no conflict with it. The *version* is the highest that was
 * ever seen: it outlives everything else, because a server that shows a lower one goes back.
 *
 * Keys of a store, each below `s/<space>/`:
 *
 *     m            the space itself: cursor, format          c/<record>   a content record, as the server has it
 *     r/<record>   a row                                     k/<record>   which row points to it
 *     p/<path>     the record of a path that is here         u/<record>   a content on its way to the server
 *     o/<record>   waits to be sent                          f/<file>/<n> a piece of a content kept apart
 *     w/<record>   to be asked for again                     g/<file>     whose content that is
 */

/**
 * A content that is here, or can be fetched. Small: `bytes`. Apart in the store: `file`. Neither: it is on the
 * server only, where the row's content record says.
 *
 * @typedef {object} Content
 * @property {string} digest  SHA-256 in hex
 * @property {number} size  bytes
 * @property {number} mtime  milliseconds since 1970
 * @property {Uint8Array} [bytes]
 * @property {string} [file]
 * @property {string} [from]  of a large one, the content record that it is to be fetched by
 */

/**
 * @typedef {object} Row
 * @property {string} id
 * @property {number} rev  grows with every write
 * @property {string} path  empty while only a tombstone or an unreadable record was seen
 * @property {Content | null} local
 * @property {Base | null} base
 * @property {{ cursor: number, reason: string } | null} pending
 * @property {string[] | null} sent  the last few digests sent and not yet acknowledged; empty: a deletion
 * @property {number} version
 * @property {string | null} content  the content record that the server's version points to
 * @property {boolean} lost  whether the server has lost that content record
 * @property {string | null} group  of the rows that were written in one step, and belong into one push
 */

/** @typedef {import("./plan.js").Remote & { bytes?: Uint8Array }} Base  `bytes`: for `merge`, while it differs */

/**
 * What `writeRow` tells: whether the row waited to be sent before and does now.
 *
 * @typedef {(key: string, value: any) => void} Write
 */

export const OTHER_KIND = "a record of another kind";
export const OLDER = "an older version";
export const UNPROVEN = "deleted without proof";
export const UNDECRYPTABLE = "it does not decrypt";
export const LATER = "a record of a later version";
export const VERSION_MAX = Number.MAX_SAFE_INTEGER;

/** @param {string} id @param {string} [path] @returns {Row} */
export function newRow(id, path = "") {
  return {
    id,
    rev: 0,
    path,
    local: null,
    base: null,
    pending: null,
    sent: null,
    version: 0,
    content: null,
    lost: false,
    group: null,
  };
}

/** The row without what was pending or under way. @param {Row} row @returns {Row} */
export function settled(row) {
  return { ...row, pending: null, sent: null, lost: false, group: null };
}

/**
 * What has to be sent of a row: over which cursor, and whether it is a deletion. Undefined: nothing.
 *
 * @param {Row} row
 * @returns {{ expected: number, deletion: boolean } | undefined}
 */
export function toSend(row) {
  const { local, base, pending } = row;
  if (row.path === "") {
    return undefined;
  }
  const reason = pending?.reason;
  if (!local) {
    const had = base !== null && base.digest !== null;
    if (!pending) {
      return had ? { expected: base.cursor, deletion: true } : undefined;
    }
    // Whoever has seen a later version and has nothing here has seen it deleted, or deleted it.
    const over = reason === OLDER || (reason === UNPROVEN && had);
    return over ? { expected: pending.cursor, deletion: true } : undefined;
  }
  const again = !pending ? row.lost : reason === OLDER;
  const same = base !== null && base.digest === local.digest;
  if (!isHere(local) || (same && !again)) {
    return undefined;
  }
  if (!pending) {
    return { expected: base === null ? 0 : base.cursor, deletion: false };
  }
  // Over what the server shows: ours is newer.
  return again || reason === UNPROVEN ? { expected: pending.cursor, deletion: false } : undefined;
}

/** Whether the bytes of a content are on this device. @param {Content} content */
export function isHere(content) {
  return content.bytes !== undefined || content.file !== undefined;
}

/** Whether it is to be asked for again. @param {Row} row */
function isWanted(row) {
  return row.pending !== null && row.pending.reason !== OTHER_KIND;
}

/** The keys of one space. */
export class Keys {
  /** @param {string} space */
  constructor(space) {
    this.space = `s/${space}/`;
    this.meta = `${this.space}m`;
  }

  /** @param {string} id */
  row = (id) => `${this.space}r/${id}`;
  /** @param {string} path */
  path = (path) => `${this.space}p/${path}`;
  /** @param {string} id */
  outbox = (id) => `${this.space}o/${id}`;
  /** @param {string} id */
  wanted = (id) => `${this.space}w/${id}`;
  /** @param {string} id */
  content = (id) => `${this.space}c/${id}`;
  /** @param {string} id */
  pointer = (id) => `${this.space}k/${id}`;
  /** @param {string} id */
  upload = (id) => `${this.space}u/${id}`;
  /** @param {string} file */
  file = (file) => `${this.space}g/${file}`;
  /** @param {string} file @param {number} [index] */
  piece = (file, index) =>
    `${this.space}f/${file}/${index === undefined ? "" : String(index).padStart(8, "0")}`;
}

/**
 * Write a row and everything that is found by it, in the step that read it.
 *
 * @param {Keys} keys
 * @param {Write} write
 * @param {Row} row
 * @param {Row} former  as it was read; a new row for none
 * @returns {number} how many more rows wait to be sent: 1, 0 or -1
 */
export function writeRow(keys, write, row, former) {
  const sending = toSend(row);
  const kind = !sending ? undefined : sending.deletion ? "deletion" : "content";
  write(keys.row(row.id), { ...row, rev: former.rev + 1 });
  write(keys.outbox(row.id), kind === undefined ? undefined : { kind, size: row.local?.size ?? 0, group: row.group });
  write(keys.wanted(row.id), isWanted(row) ? row.pending?.cursor : undefined);
  if (row.path !== "") {
    write(keys.path(row.path), !row.local ? undefined : row.id);
  }
  if (former.content !== null && former.content !== row.content) {
    write(keys.pointer(former.content), undefined);
  }
  if (row.content !== null) {
    write(keys.pointer(row.content), row.id);
  }
  const file = row.local?.file;
  if (file !== undefined && file !== former.local?.file) {
    write(keys.file(file), { owner: row.id });
  }
  return (!sending ? 0 : 1) - (toSend(former) === undefined ? 0 : 1);
}
