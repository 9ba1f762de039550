/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./kept.js").KnownContent} KnownContent */
/** So many bytes of what can be fetched again stay on this device. */
export const CACHE_BYTES_MAX: number;
/** A large content cannot be had now; the message says why. `code` is `not_fetched`. */
export class NotFetched extends LessSyncError {
    /** @param {string} path @param {string} why */
    constructor(path: string, why: string);
}
declare const Downloads_base: new <P>(parts: P) => Readonly<P>;
/**
 * @typedef {object} DownloadsParts
 * @property {import("./sending.js").Talk} talk
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {() => Promise<void>} learn  has the keys of a shared space
 */
/**
 * See the module.
 *
 * @extends {MadeOf<DownloadsParts>}
 */
export class Downloads extends Downloads_base {
    constructor(parts: DownloadsParts);
    /**
     * Have the content of a row here. Who asks twice waits for the same download.
     *
     * @param {Row} row
     * @returns {Promise<void>}
     * @throws {NotFetched}
     * @throws {import("./errors.js").QuotaExceeded}  what is here stays, and the next attempt goes on with it
     */
    fetch(row: Row): Promise<void>;
    #private;
}
export type Row = import("./rows.js").Row;
export type KnownContent = import("./kept.js").KnownContent;
export type DownloadsParts = {
    talk: import("./sending.js").Talk;
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    /**
     * has the keys of a shared space
     */
    learn: () => Promise<void>;
};
import { LessSyncError } from "./errors.js";
export {};
