/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./kept.js").KnownContent} KnownContent */
/** So many bytes of what can be fetched again stay on this device. */
export const CACHE_BYTES_MAX: number;
/** A large content cannot be had now; the message says why. `code` is `not_fetched`. */
export class NotFetched extends LessSyncError {
    /** @param {string} path @param {string} why */
    constructor(path: string, why: string);
}
/** See the module. */
export class Downloads {
    /**
     * @param {object} parts
     * @param {import("./sending.js").Talk} parts.talk
     * @param {import("./kept.js").Kept} parts.kept
     * @param {import("./space_keys.js").SpaceKeys} parts.keys
     * @param {() => Promise<void>} parts.learn  has the keys of a shared space
     * @param {number} [parts.cacheBytes]
     */
    constructor({ talk, kept, keys, learn, cacheBytes }: {
        talk: import("./sending.js").Talk;
        kept: import("./kept.js").Kept;
        keys: import("./space_keys.js").SpaceKeys;
        learn: () => Promise<void>;
        cacheBytes?: number | undefined;
    });
    talk: import("./sending.js").Talk;
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    learn: () => Promise<void>;
    cacheBytes: number;
    /**
     * Have the content of a row here. Who asks twice waits for the same download.
     *
     * @param {Row} row
     * @returns {Promise<void>}
     * @throws {NotFetched}
     * @throws {import("./errors.js").QuotaExceeded}  what is here stays, and the next attempt goes on with it
     */
    fetch(row: Row): Promise<void>;
    /**
     * Let go what was fetched beyond the bound.
     *
     * @param {string} [but]  what is to stay
     */
    makeRoom(but?: string): Promise<void>;
    #private;
}
export type Row = import("./rows.js").Row;
export type KnownContent = import("./kept.js").KnownContent;
import { LessSyncError } from "./errors.js";
