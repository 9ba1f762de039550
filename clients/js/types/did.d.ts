/**
 * The DID of a public key.
 *
 * @param {Uint8Array} point 33 bytes compressed, or 65 bytes uncompressed.
 * @returns {string}
 */
export function encodeDid(point: Uint8Array): string;
/**
 * Decode a `did:key`; the checks and their order are those of docs/tokens.md 5.
 *
 * @param {string} did
 * @returns {PublicPoint}
 * @throws {Refused} `bad_did`
 */
export function decodeDid(did: string): PublicPoint;
/**
 * A decoded DID.
 */
export type PublicPoint = {
    /**
     * 33 bytes: 02 or 03 for an even or odd y, then x.
     */
    compressed: Uint8Array;
    /**
     * 32 bytes.
     */
    x: Uint8Array;
    /**
     * 32 bytes.
     */
    y: Uint8Array;
    /**
     * 65 bytes: 04, x, y.
     */
    point: Uint8Array;
};
