/**
 * How many parts a content of this size has; an empty one has one.
 *
 * @param {number} size
 * @param {number} partBytes
 * @returns {number}
 */
export function partCount(size: number, partBytes: number): number;
/**
 * The plaintext of a record of a path.
 *
 * @param {PlainPath} file
 * @returns {Uint8Array}
 */
export function encodeFile(file: PlainPath): Uint8Array;
/**
 * The plaintext of a content record.
 *
 * @param {Omit<PlainContent, "kind" | "version">} content
 * @returns {Uint8Array}
 */
export function encodeContent({ size, digest, partBytes, parts }: Omit<PlainContent, "kind" | "version">): Uint8Array;
/**
 * Read a plaintext.
 *
 * @param {Uint8Array} plain
 * @returns {PlainPath | PlainContent}
 * @throws {ForeignRecord} it is not of this format; `OtherKind` where this format allows it
 */
export function decodePlain(plain: Uint8Array): PlainPath | PlainContent;
/** Largest version of a record, and largest content it can tell of. */
export const VERSION_MAX: number;
/** Bounds of the plaintext of one part file. */
export const PART_BYTES_MIN: number;
export const PART_BYTES_MAX: number;
/**
 * @typedef {object} PlainFile A file, or that there was one; the path is as its author wrote it.
 * @property {"file" | "deleted"} kind
 * @property {number} version 0 in a record of format 1, which has none
 * @property {string} path
 * @property {bigint} mtimeNs since 1970; of a deletion, when it was made
 * @property {Uint8Array} content empty for a deletion
 */
/**
 * @typedef {object} PlainLarge A file whose content is in part files.
 * @property {"large"} kind
 * @property {number} version
 * @property {string} path
 * @property {bigint} mtimeNs
 * @property {number} size bytes of the whole content
 * @property {Uint8Array} digest its SHA-256
 * @property {string} content id of the content record
 */
/**
 * @typedef {object} PlainContent The part files of a content, in order: all have `partBytes` but the last.
 * @property {"content"} kind
 * @property {number} version
 * @property {number} size
 * @property {Uint8Array} digest
 * @property {number} partBytes
 * @property {string[]} parts ids, at least one, no two alike
 */
/** @typedef {PlainFile | PlainLarge} PlainPath What a record says of its path. */
/** The record is authentic but of a later version, or of another shape: it is to be left alone. */
export class ForeignRecord extends LessSyncError {
    /** @param {string} [code] */
    constructor(code?: string);
}
/** The record is of this format and of a kind that this version does not know: it is to be left alone. */
export class OtherKind extends ForeignRecord {
    constructor();
}
/**
 * A file, or that there was one; the path is as its author wrote it.
 */
export type PlainFile = {
    kind: "file" | "deleted";
    /**
     * 0 in a record of format 1, which has none
     */
    version: number;
    path: string;
    /**
     * since 1970; of a deletion, when it was made
     */
    mtimeNs: bigint;
    /**
     * empty for a deletion
     */
    content: Uint8Array;
};
/**
 * A file whose content is in part files.
 */
export type PlainLarge = {
    kind: "large";
    version: number;
    path: string;
    mtimeNs: bigint;
    /**
     * bytes of the whole content
     */
    size: number;
    /**
     * its SHA-256
     */
    digest: Uint8Array;
    /**
     * id of the content record
     */
    content: string;
};
/**
 * The part files of a content, in order: all have `partBytes` but the last.
 */
export type PlainContent = {
    kind: "content";
    version: number;
    size: number;
    digest: Uint8Array;
    partBytes: number;
    /**
     * ids, at least one, no two alike
     */
    parts: string[];
};
/**
 * What a record says of its path.
 */
export type PlainPath = PlainFile | PlainLarge;
import { LessSyncError } from "./errors.js";
