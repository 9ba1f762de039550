/**
 * Sign as the owner of a device's DID.
 *
 * @param {DeviceKey} device
 * @param {string} typ what kind of statement this is
 * @param {Uint8Array} payload
 * @returns {Promise<string>} a compact JWS
 * @throws {Refused} `too_large`: more than `SIGNED_BYTES_MAX`
 */
export function signJws(device: DeviceKey, typ: string, payload: Uint8Array): Promise<string>;
/**
 * @param {DeviceKey} device
 * @param {{alg: "ES256", typ: string}} header
 * @param {Uint8Array} payload
 * @returns {Promise<string>}
 */
export function signCompact(device: DeviceKey, header: {
    alg: "ES256";
    typ: string;
}, payload: Uint8Array): Promise<string>;
/**
 * The payload of a JWS of this kind that the owner of `did` signed; null for any other text.
 *
 * @param {string} text
 * @param {string} did
 * @param {string} typ
 * @returns {Promise<Uint8Array | null>}
 */
export function verifyJws(text: string, did: string, typ: string): Promise<Uint8Array | null>;
/**
 * The payload of a JWS whose signer is named inside, not verified yet; null when it is none.
 *
 * @param {string} text
 * @returns {Uint8Array | null}
 */
export function unverifiedPayload(text: string): Uint8Array | null;
/**
 * @typedef {object} JwsParts
 * @property {Record<string, unknown>} header
 * @property {Uint8Array} payload
 * @property {Uint8Array} signature 64 bytes
 * @property {string} input what is signed
 */
/**
 * Take a compact JWS apart: strict base64url, a strict JSON header with `alg` ES256 and without `crit`.
 *
 * @param {string} text
 * @returns {JwsParts}
 * @throws {Error} it is none
 */
export function splitJws(text: string): JwsParts;
/**
 * Whether the key of a DID made the signature.
 *
 * @param {string} did
 * @param {JwsParts} parts
 * @returns {Promise<boolean>}
 * @throws {Refused} `bad_did`: no P-256 `did:key`
 */
export function signedBy(did: string, { signature, input }: JwsParts): Promise<boolean>;
/**
 * Whether a value is a text that UTF-8 can hold.
 *
 * @param {unknown} value
 * @returns {value is string}
 */
export function isText(value: unknown): value is string;
/**
 * Encrypt for the owner of a DID alone. It says nothing about its author: sign around it.
 *
 * @param {string} did
 * @param {Uint8Array} plain
 * @returns {Promise<string>} a compact JWE
 * @throws {Refused} `bad_did`: no P-256 `did:key`
 * @throws {Refused} `too_large`: more than `SEALED_BYTES_MAX`
 */
export function sealFor(did: string, plain: Uint8Array): Promise<string>;
/**
 * Decrypt what `sealFor` made; null when it is for somebody else, or altered.
 *
 * @param {string} text
 * @param {DeviceKey} device
 * @param {boolean} [plain] only in the form that `sealFor` writes: where all clients have to agree what counts
 * @returns {Promise<Uint8Array | null>}
 */
export function openSealed(text: string, device: DeviceKey, plain?: boolean): Promise<Uint8Array | null>;
/** More is neither signed nor verified: all clients have to agree what counts. */
export const SIGNED_BYTES_MAX: 96000;
/** More is neither sealed nor opened. */
export const SEALED_BYTES_MAX: 49152;
export type JwsParts = {
    header: Record<string, unknown>;
    payload: Uint8Array;
    /**
     * 64 bytes
     */
    signature: Uint8Array;
    /**
     * what is signed
     */
    input: string;
};
import type { DeviceKey } from "./keys.js";
