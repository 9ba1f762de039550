/** @param {string} id @param {string} [path] @returns {Row} */
export function newRow(id: string, path?: string): Row;
/** The row without what was pending or under way. @param {Row} row @returns {Row} */
export function settled(row: Row): Row;
/**
 * What has to be sent of a row: over which cursor, and whether it is a deletion. Undefined: nothing.
 *
 * @param {Row} row
 * @returns {{ expected: number, deletion: boolean } | undefined}
 */
export function toSend(row: Row): {
    expected: number;
    deletion: boolean;
} | undefined;
/** Whether the bytes of a content are on this device. @param {Content} content */
export function isHere(content: Content): boolean;
/**
 * Write a row and everything that is found by it, in the step that read it.
 *
 * @param {Keys} keys
 * @param {Write} write
 * @param {Row} row
 * @param {Row} former  as it was read; a new row for none
 * @returns {number} how many more rows wait to be sent: 1, 0 or -1
 */
export function writeRow(keys: Keys, write: Write, row: Row, former: Row): number;
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
export const OTHER_KIND: "a record of another kind";
export const OLDER: "an older version";
export const UNPROVEN: "deleted without proof";
export const UNDECRYPTABLE: "it does not decrypt";
export const LATER: "a record of a later version";
export const VERSION_MAX: number;
/** The keys of one space. */
export class Keys {
    /** @param {string} space */
    constructor(space: string);
    space: string;
    meta: string;
    /** @param {string} id */
    row: (id: string) => string;
    /** @param {string} path */
    path: (path: string) => string;
    /** @param {string} id */
    outbox: (id: string) => string;
    /** @param {string} id */
    wanted: (id: string) => string;
    /** @param {string} id */
    content: (id: string) => string;
    /** @param {string} id */
    pointer: (id: string) => string;
    /** @param {string} id */
    upload: (id: string) => string;
    /** @param {string} file */
    file: (file: string) => string;
    /** @param {string} file @param {number} [index] */
    piece: (file: string, index?: number) => string;
}
/**
 * A content that is here, or can be fetched. Small: `bytes`. Apart in the store: `file`. Neither: it is on the
 * server only, where the row's content record says.
 */
export type Content = {
    /**
     * SHA-256 in hex
     */
    digest: string;
    /**
     * bytes
     */
    size: number;
    /**
     * milliseconds since 1970
     */
    mtime: number;
    bytes?: Uint8Array<ArrayBufferLike> | undefined;
    file?: string | undefined;
    /**
     * of a large one, the content record that it is to be fetched by
     */
    from?: string | undefined;
};
export type Row = {
    id: string;
    /**
     * grows with every write
     */
    rev: number;
    /**
     * empty while only a tombstone or an unreadable record was seen
     */
    path: string;
    local: Content | null;
    base: Base | null;
    pending: {
        cursor: number;
        reason: string;
    } | null;
    /**
     * the last few digests sent and not yet acknowledged; empty: a deletion
     */
    sent: string[] | null;
    version: number;
    /**
     * the content record that the server's version points to
     */
    content: string | null;
    /**
     * whether the server has lost that content record
     */
    lost: boolean;
    /**
     * of the rows that were written in one step, and belong into one push
     */
    group: string | null;
};
/**
 * `bytes`: for `merge`, while it differs
 */
export type Base = import("./plan.js").Remote & {
    bytes?: Uint8Array;
};
/**
 * What `writeRow` tells: whether the row waited to be sent before and does now.
 */
export type Write = (key: string, value: any) => void;
