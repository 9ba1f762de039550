/**
 * The point and the secret with `point` of a key that is used once: the sender's side of ECDH-ES.
 *
 * @param {Uint8Array} point 65 bytes uncompressed
 * @returns {Promise<{x: string, y: string, secret: Uint8Array}>}
 */
export function agreeOnce(point: Uint8Array): Promise<{
    x: string;
    y: string;
    secret: Uint8Array;
}>;
/**
 * A function that verifies ES256 signatures of one key.
 *
 * @param {Uint8Array} point 65 bytes uncompressed
 * @returns {Promise<(signature: Uint8Array, bytes: Uint8Array) => Promise<boolean>>}
 */
export function verifier(point: Uint8Array): Promise<(signature: Uint8Array, bytes: Uint8Array) => Promise<boolean>>;
/**
 * @typedef {object} PrivateJwk A P-256 private key (RFC 7517); more members are passed over.
 * @property {string} [kty]
 * @property {string} [crv]
 * @property {string} [x]
 * @property {string} [y]
 * @property {string} [d]
 */
/**
 * @typedef {object} StoredDeviceKey What IndexedDB keeps: the two CryptoKeys cannot be read, only used.
 * @property {1} v
 * @property {Uint8Array} point 65 bytes
 * @property {CryptoKey} sign
 * @property {CryptoKey} agree
 */
/**
 * The key of one device. Its private number is readable only while the key is made, because browsers use one
 * CryptoKey for signing or for agreeing but not for both; nothing of the page can read it afterwards.
 */
export class DeviceKey {
    /**
     * A new key.
     *
     * @param {{extractable?: boolean}} [options] `extractable`: `toJwk` works, for tests and back-ups
     * @returns {Promise<DeviceKey>}
     */
    static generate(options?: {
        extractable?: boolean;
    }): Promise<DeviceKey>;
    /**
     * A key from elsewhere.
     *
     * @param {PrivateJwk} jwk
     * @param {{extractable?: boolean}} [options]
     * @returns {Promise<DeviceKey>}
     * @throws {LessSyncError} no private P-256 key
     */
    static fromJwk({ kty, crv, x, y, d }: PrivateJwk, { extractable }?: {
        extractable?: boolean;
    }): Promise<DeviceKey>;
    /**
     * The key that `stored` gave.
     *
     * @param {StoredDeviceKey} stored
     * @returns {DeviceKey}
     */
    static fromStored({ point, sign, agree }: StoredDeviceKey): DeviceKey;
    /**
     * Use `generate`, `fromJwk` or `fromStored`.
     *
     * @param {Uint8Array} point
     * @param {CryptoKey} sign
     * @param {CryptoKey} agree
     * @param {PrivateJwk} [jwk] kept only if it may be exported
     */
    constructor(point: Uint8Array, sign: CryptoKey, agree: CryptoKey, jwk?: PrivateJwk);
    /** The uncompressed public point, 65 bytes. */
    point: Uint8Array<ArrayBufferLike>;
    /** The `did:key`. */
    did: string;
    /**
     * What can be kept in IndexedDB (structured clone).
     *
     * @returns {StoredDeviceKey}
     */
    stored(): StoredDeviceKey;
    /**
     * @returns {PrivateJwk}
     * @throws {LessSyncError} the key was not made to be exported
     */
    toJwk(): PrivateJwk;
    /**
     * Sign with ES256.
     *
     * @param {Uint8Array} bytes
     * @returns {Promise<Uint8Array>} 64 bytes: r and s
     */
    sign(bytes: Uint8Array): Promise<Uint8Array>;
    /**
     * The ECDH secret with another key.
     *
     * @param {Uint8Array} point 65 bytes uncompressed
     * @returns {Promise<Uint8Array>} 32 bytes
     */
    agree(point: Uint8Array): Promise<Uint8Array>;
    #private;
}
/**
 * A P-256 private key (RFC 7517); more members are passed over.
 */
export type PrivateJwk = {
    kty?: string | undefined;
    crv?: string | undefined;
    x?: string | undefined;
    y?: string | undefined;
    d?: string | undefined;
};
/**
 * What IndexedDB keeps: the two CryptoKeys cannot be read, only used.
 */
export type StoredDeviceKey = {
    v: 1;
    /**
     * 65 bytes
     */
    point: Uint8Array;
    sign: CryptoKey;
    agree: CryptoKey;
};
