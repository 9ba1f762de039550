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
 * @throws {DidRefused}
 */
export function decodeDid(did: string): PublicPoint;
/**
 * @typedef {object} PublicPoint A decoded DID.
 * @property {Uint8Array} compressed 33 bytes: 02 or 03 for an even or odd y, then x.
 * @property {Uint8Array} x 32 bytes.
 * @property {Uint8Array} y 32 bytes.
 * @property {Uint8Array} point 65 bytes: 04, x, y.
 */
/** A text that is no `did:key` of a P-256 key; `code` says which check refused it. */
export class DidRefused extends LessSyncError {
}
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
import { LessSyncError } from "./errors.js";
