/**
 * @param {Keys} keys
 * @param {Write} write
 * @param {string} record
 * @param {KnownContent} known
 * @param {Upload | undefined} upload  the one of this record
 */
export function noteContent(keys: Keys, write: Write, record: string, known: KnownContent, upload: Upload | undefined): void;
/**
 * @param {Keys} keys
 * @param {Write} write
 * @param {string} record
 */
export function dropContent(keys: Keys, write: Write, record: string): void;
/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Write} Write */
/**
 * @typedef {object} Meta
 * @property {number} cursor  everything up to it was seen; -1 at first, which makes the server show tombstones
 * @property {boolean} proves  whether the space was ever seen to hold a record of format 2
 * @property {boolean} agreed  whether anything was ever agreed on with the server
 * @property {boolean} [forgetting]  a `forget` has begun and is not known to have ended
 */
/**
 * A content record as the server has it. `parts` are ids.
 *
 * @typedef {object} KnownContent
 * @property {number} cursor
 * @property {number} size
 * @property {string} digest  hex
 * @property {number} partBytes
 * @property {string[]} parts
 */
/**
 * A content on its way to the server. Key and nonce of each part are here before its first byte is sent, so that
 * what is sent again is the same, byte for byte. `cursor`: of the content record; null while it is not known to
 * be there.
 *
 * @typedef {object} Upload
 * @property {string} record
 * @property {string} digest  hex
 * @property {number} size
 * @property {number} partBytes
 * @property {{ id: string, dek: Uint8Array, nonce: Uint8Array, done: boolean }[]} parts
 * @property {number | null} cursor
 */
/** @typedef {{ id: string, kind: "content" | "deletion", size: number, group: string | null }} Waiting */
/** @type {Meta} */
export const NEW_META: Meta;
/** See the module. */
export class Kept {
    /**
     * @param {import("./store.js").Store} store
     * @param {string} space
     * @param {() => number} [now]  milliseconds since 1970
     */
    constructor(store: import("./store.js").Store, space: string, now?: () => number);
    store: import("./store.js").Store;
    keys: Keys;
    contents: Contents;
    /** @type {(waiting: number) => void} */
    onWaiting: (waiting: number) => void;
    /** What another tab says of it. */
    set waiting(waiting: number);
    /** How many rows wait to be sent, as far as this tab knows. */
    get waiting(): number;
    /**
     * One step over some rows: `change` gets them as they are now, in a map in which it sets those that are to be
     * others; beside it the values of more keys, and `write` for these.
     *
     * @template T
     * @param {readonly string[]} ids
     * @param {(rows: Map<string, Row>, more: any[], write: Write) => T} change
     * @param {readonly string[]} [more]
     * @returns {Promise<T>}
     */
    change<T>(ids: readonly string[], change: (rows: Map<string, Row>, more: any[], write: Write) => T, more?: readonly string[]): Promise<T>;
    /** @param {readonly string[]} ids @returns {Promise<(Row | undefined)[]>} */
    rows(ids: readonly string[]): Promise<(Row | undefined)[]>;
    /** @param {string} id @returns {Promise<Row | undefined>} */
    row(id: string): Promise<Row | undefined>;
    /**
     * Walk the rows of what is here, by path.
     *
     * @param {string} prefix
     * @returns {AsyncGenerator<Row, void, void>}
     */
    here(prefix: string): AsyncGenerator<Row, void, void>;
    /** What waits to be sent, by record; it is counted by this. @returns {Promise<Waiting[]>} */
    outbox(): Promise<Waiting[]>;
    /** The lowest cursor of what could not be applied and is to be asked for again. */
    firstWanted(): Promise<number | undefined>;
    /** @returns {Promise<Meta>} */
    meta(): Promise<Meta>;
    /** Everything up to a cursor was seen. It never goes back: another tab may have seen more. @param {number} to */
    advance(to: number): Promise<void>;
    /**
     * Drop all that was agreed on, and the cursor: the server is not the one it was. What is here stays and is
     * compared anew; the versions stay, so that a server cannot bring an older one back by this. A kill in between
     * is made good by the next call, which `meta().forgetting` asks for.
     */
    forget(): Promise<void>;
    /** @param {string} record @returns {Promise<KnownContent | undefined>} */
    content(record: string): Promise<KnownContent | undefined>;
    /**
     * Note a content record as the server has it; if it is one of an upload, that one is there, then.
     *
     * @param {string} record
     * @param {KnownContent} known
     */
    putContent(record: string, known: KnownContent): Promise<void>;
    /** Forget content records that were deleted on the server. @param {readonly string[]} records */
    dropContents(records: readonly string[]): Promise<void>;
    /** @returns {Promise<Upload[]>} */
    uploads(): Promise<Upload[]>;
    /** @param {Upload} upload */
    putUpload(upload: Upload): Promise<void>;
    /** The server has a part. @param {string} record @param {number} number */
    partSent(record: string, number: number): Promise<void>;
    #private;
}
export type Row = import("./rows.js").Row;
export type Write = import("./rows.js").Write;
export type Meta = {
    /**
     * everything up to it was seen; -1 at first, which makes the server show tombstones
     */
    cursor: number;
    /**
     * whether the space was ever seen to hold a record of format 2
     */
    proves: boolean;
    /**
     * whether anything was ever agreed on with the server
     */
    agreed: boolean;
    /**
     * a `forget` has begun and is not known to have ended
     */
    forgetting?: boolean | undefined;
};
/**
 * A content record as the server has it. `parts` are ids.
 */
export type KnownContent = {
    cursor: number;
    size: number;
    /**
     * hex
     */
    digest: string;
    partBytes: number;
    parts: string[];
};
/**
 * A content on its way to the server. Key and nonce of each part are here before its first byte is sent, so that
 * what is sent again is the same, byte for byte. `cursor`: of the content record; null while it is not known to
 * be there.
 */
export type Upload = {
    record: string;
    /**
     * hex
     */
    digest: string;
    size: number;
    partBytes: number;
    parts: {
        id: string;
        dek: Uint8Array;
        nonce: Uint8Array;
        done: boolean;
    }[];
    cursor: number | null;
};
export type Waiting = {
    id: string;
    kind: "content" | "deletion";
    size: number;
    group: string | null;
};
import { Keys } from "./rows.js";
import { Contents } from "./contents.js";
