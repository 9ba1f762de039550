/**
 * @typedef {object} PartPlace Where a part belongs; it does not decrypt anywhere else.
 * @property {string} space
 * @property {string} content id of the content record
 * @property {string} part
 */
/**
 * How many chunks a part with so much plaintext has.
 *
 * @param {number} size bytes
 * @returns {number}
 */
export function chunkCount(size: number): number;
/**
 * Bytes of the part file for so much plaintext.
 *
 * @param {number} size bytes
 * @returns {number}
 */
export function sealedSize(size: number): number;
/**
 * The part file of a plaintext, piece by piece; one chunk is in memory, and what `plain` gives at a time.
 *
 * @param {CryptoKey} key
 * @param {Uint8Array} nonce
 * @param {PartPlace} place
 * @param {number} size bytes that `plain` has in all
 * @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} plain in pieces of any size
 * @returns {AsyncGenerator<Uint8Array, void>} the header, then a chunk at a time
 * @throws {RangeError} `plain` is longer or shorter
 */
export function sealPart(key: CryptoKey, nonce: Uint8Array, place: PartPlace, size: number, plain: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array, void>;
/**
 * The plaintext of a part file, a chunk at a time. A chunk that is given out is right; only at the end it is
 * known that none is missing.
 *
 * @param {CryptoKey} key
 * @param {PartPlace} place
 * @param {number} size bytes of plaintext, as the content record has it
 * @param {AsyncIterable<Uint8Array> | Iterable<Uint8Array>} sealed in pieces of any size
 * @returns {AsyncGenerator<Uint8Array, void>}
 * @throws {Undecryptable}
 */
export function openPart(key: CryptoKey, place: PartPlace, size: number, sealed: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array, void>;
/** Plaintext of every chunk but the last. */
export const CHUNK_BYTES: number;
export const NONCE_BYTES: 7;
export const HEADER_BYTES: number;
/**
 * Where a part belongs; it does not decrypt anywhere else.
 */
export type PartPlace = {
    space: string;
    /**
     * id of the content record
     */
    content: string;
    part: string;
};
