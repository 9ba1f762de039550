/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./rows.js").Content} Content */
/**
 * What is at a path.
 *
 * @typedef {object} Entry
 * @property {string} path
 * @property {number} size  bytes
 * @property {string} digest  SHA-256 of the bytes, in hex
 * @property {Date} mtime  when it was last written, by the clock of who wrote it
 * @property {Uint8Array} bytes  empty for a large entry that `list` gives: `get` fetches it
 * @property {boolean} large  whether the content is kept apart, and may have to be fetched
 * @property {() => string} text  the bytes as UTF-8; throws TypeError if they are none
 * @property {() => any} json  the bytes as JSON; throws SyntaxError or TypeError if they are none
 */
/**
 * Two versions of one entry that do not follow each other. `base` is what both sides had, undefined if that is
 * not known.
 *
 * @typedef {object} Versions
 * @property {Uint8Array | undefined} base
 * @property {Uint8Array} mine
 * @property {Uint8Array} theirs
 */
/**
 * Decides about two versions of a small entry: returns what is to be there (bytes, text or a JSON value), or
 * undefined to keep both, the one from here as a conflict copy. May be asked again about the same pair.
 *
 * @typedef {(path: string, versions: Versions) => any} Merge
 */
/**
 * The bytes of what an app gives: bytes and Blobs as they are, text as UTF-8, anything else as JSON.
 *
 * @param {any} value
 * @returns {Uint8Array | Blob}
 * @throws {TypeError} it is undefined, a function or the like, or has cycles
 */
export function sourceOf(value: any): Uint8Array | Blob;
/**
 * @param {Row} row  of something that is here
 * @param {Uint8Array} [bytes]  of a large one
 * @returns {Entry}
 */
export function entryOf({ path, local }: Row, bytes?: Uint8Array): Entry;
declare const Merging_base: new <P>(parts: P) => Readonly<P>;
/**
 * @typedef {object} MergingParts
 * @property {import("./contents.js").Contents} contents
 * @property {Merge | undefined} merge
 * @property {(name: string, detail: any) => void} tell
 * @property {() => number} now  milliseconds since 1970
 */
/**
 * Asks the app about two versions.
 *
 * @extends {MadeOf<MergingParts>}
 */
export class Merging extends Merging_base {
    constructor(parts: MergingParts);
    /**
     * What is to be at a path; undefined: both are to be kept.
     *
     * @param {Row} row
     * @param {Content} theirs
     * @returns {Promise<Content | undefined>}
     */
    merged({ path, local, base }: Row, theirs: Content): Promise<Content | undefined>;
}
export type Row = import("./rows.js").Row;
export type Content = import("./rows.js").Content;
/**
 * What is at a path.
 */
export type Entry = {
    path: string;
    /**
     * bytes
     */
    size: number;
    /**
     * SHA-256 of the bytes, in hex
     */
    digest: string;
    /**
     * when it was last written, by the clock of who wrote it
     */
    mtime: Date;
    /**
     * empty for a large entry that `list` gives: `get` fetches it
     */
    bytes: Uint8Array;
    /**
     * whether the content is kept apart, and may have to be fetched
     */
    large: boolean;
    /**
     * the bytes as UTF-8; throws TypeError if they are none
     */
    text: () => string;
    /**
     * the bytes as JSON; throws SyntaxError or TypeError if they are none
     */
    json: () => any;
};
/**
 * Two versions of one entry that do not follow each other. `base` is what both sides had, undefined if that is
 * not known.
 */
export type Versions = {
    base: Uint8Array | undefined;
    mine: Uint8Array;
    theirs: Uint8Array;
};
/**
 * Decides about two versions of a small entry: returns what is to be there (bytes, text or a JSON value), or
 * undefined to keep both, the one from here as a conflict copy. May be asked again about the same pair.
 */
export type Merge = (path: string, versions: Versions) => any;
export type MergingParts = {
    contents: import("./contents.js").Contents;
    merge: Merge | undefined;
    tell: (name: string, detail: any) => void;
    /**
     * milliseconds since 1970
     */
    now: () => number;
};
export {};
