/**
 * @typedef {object} Sealed What the server gets of a record.
 * @property {Uint8Array} blob
 * @property {Uint8Array} dek
 */
/**
 * How many bytes a file of this path may have so that its record fits into one frame.
 *
 * @param {string} path
 * @returns {number}
 */
export function contentBytesMax(path: string): number;
/**
 * The epoch a wrapped key was wrapped for; 0, which is none, if it is cut short: servers take any bytes for one.
 *
 * @param {Uint8Array} dek 44 bytes
 * @returns {number}
 */
export function epochOf(dek: Uint8Array): number;
/** A wrapped key of a record or part. */
export const DEK_BYTES: 44;
/** Largest blob: a frame of 4 MiB less room for what is around it. */
export const BLOB_BYTES_MAX: number;
export const EPOCH_MAX: number;
/** Seals and opens what is in one space. */
export class SpaceKeys {
    /**
     * The keys of a personal space.
     *
     * @param {Uint8Array} secret the 32 bytes of the key text
     * @param {string} space its id
     * @returns {SpaceKeys}
     */
    static personal(secret: Uint8Array, space: string): SpaceKeys;
    /**
     * The keys of a shared space.
     *
     * @param {Map<number, Uint8Array> | Record<string, Uint8Array>} keysByEpoch 32 bytes each, at least one
     * @param {string} space its id
     * @returns {SpaceKeys}
     */
    static shared(keysByEpoch: Map<number, Uint8Array> | Record<string, Uint8Array>, space: string): SpaceKeys;
    /**
     * Use `personal` or `shared`.
     *
     * @param {string} space
     * @param {Uint8Array} idSecret what record ids derive from
     * @param {boolean} personal
     */
    constructor(space: string, idSecret: Uint8Array, personal: boolean);
    /** The id of the space, lower case. */
    space: string;
    /**
     * Add keys of further epochs; those already known stay.
     *
     * @param {Map<number, Uint8Array> | Record<string, Uint8Array>} keysByEpoch
     */
    learn(keysByEpoch: Map<number, Uint8Array> | Record<string, Uint8Array>): void;
    /**
     * Whether records of an epoch can be sealed and opened.
     *
     * @param {number} epoch
     * @returns {boolean}
     */
    knows(epoch: number): boolean;
    /**
     * The id under which everybody with these keys keeps `path`. Without the keys it tells nothing.
     *
     * @param {string} path in Unicode normal form C
     * @returns {Promise<string>} a UUID
     */
    recordId(path: string): Promise<string>;
    /**
     * Encrypt the plaintext of a record (`plaintext.js`) under a fresh key, wrapped for an epoch.
     *
     * @param {string} record its id
     * @param {Uint8Array} plain
     * @param {number} epoch the space's: from 1 to 2^31 - 1
     * @returns {Promise<Sealed>}
     * @throws {Undecryptable} the key of the epoch is not known
     * @throws {RangeError} the blob is more than `BLOB_BYTES_MAX`
     */
    seal(record: string, plain: Uint8Array, epoch: number): Promise<Sealed>;
    /**
     * Decrypt a record.
     *
     * @param {string} record the id it was found under
     * @param {Sealed} sealed
     * @returns {Promise<Uint8Array>} for `decodePlain`
     * @throws {Undecryptable} another key, altered, moved here from elsewhere, or of another version
     */
    open(record: string, { blob, dek }: Sealed): Promise<Uint8Array>;
    /**
     * A fresh key of a part, wrapped for an epoch.
     *
     * @param {number} epoch
     * @returns {Promise<Uint8Array>} 44 bytes
     * @throws {Undecryptable} the key of the epoch is not known
     */
    newDek(epoch: number): Promise<Uint8Array>;
    /**
     * The same key, wrapped for another epoch.
     *
     * @param {Uint8Array} dek 44 bytes
     * @param {number} epoch
     * @returns {Promise<Uint8Array>}
     * @throws {Undecryptable}
     */
    rewrap(dek: Uint8Array, epoch: number): Promise<Uint8Array>;
    /**
     * Wrap the key of a record or part for an epoch.
     *
     * @param {CryptoKey} key extractable
     * @param {number} epoch
     * @returns {Promise<Uint8Array>} 44 bytes
     * @throws {Undecryptable} the key of the epoch is not known
     */
    wrap(key: CryptoKey, epoch: number): Promise<Uint8Array>;
    /**
     * The key of a record or part.
     *
     * @param {Uint8Array} dek 44 bytes
     * @returns {Promise<CryptoKey>} for AES-GCM; it cannot be read
     * @throws {Undecryptable} wrapped with another key, or no wrapped key
     */
    unwrap(dek: Uint8Array): Promise<CryptoKey>;
    #private;
}
/**
 * What the server gets of a record.
 */
export type Sealed = {
    blob: Uint8Array;
    dek: Uint8Array;
};
