/**
 * Let somebody into a space with its root key.
 *
 * @param {DeviceKey} rootKey
 * @param {{space: string, to: string, permission: Permission, expiresAt: number}} grant Unix seconds
 * @returns {Promise<string>}
 */
export function issueRoot(rootKey: DeviceKey, grant: {
    space: string;
    to: string;
    permission: Permission;
    expiresAt: number;
}): Promise<string>;
/**
 * Let somebody into a space by what lets us in. The token never outlives its proof: `expiresAt` is lowered.
 * It may say more than the proof grants, and is refused then: compare `permission` first.
 *
 * @param {string} parent the UCAN that was given to `device`
 * @param {DeviceKey} device
 * @param {{to: string, permission: Permission, expiresAt: number}} grant Unix seconds
 * @returns {Promise<string>}
 * @throws {UcanRefused} the parent cannot be read
 */
export function delegate(parent: string, device: DeviceKey, { to, permission, expiresAt }: {
    to: string;
    permission: Permission;
    expiresAt: number;
}): Promise<string>;
/**
 * The CID of a token's text, lower-case hex. Not a multiformats CID.
 *
 * @param {string} text
 * @returns {Promise<string>}
 */
export function ucanCid(text: string): Promise<string>;
/**
 * Read one token and verify its signature with the key in `iss`.
 *
 * @param {string} text
 * @returns {Promise<Ucan>}
 * @throws {UcanRefused} `invalid_ucan`: anything about it is wrong
 */
export function parseUcan(text: string): Promise<Ucan>;
/**
 * Read a token and the proofs it embeds. A proof that cannot be read ends the chain; `checkChain` refuses it.
 *
 * @param {string} text
 * @returns {Promise<UcanChain>}
 * @throws {UcanRefused} the token itself cannot be read
 */
export function parseChain(text: string): Promise<UcanChain>;
/**
 * @typedef {object} ChainQuestion What every link is held against.
 * @property {string} audience the DID the token must have been given to
 * @property {Permission} needed
 * @property {string} space
 * @property {Uint8Array} rootKey the space's root key, 33 bytes; where it is not known, the last link's
 * @property {Pick<ReadonlySet<string>, "has">} revoked CIDs
 * @property {number} nowS Unix seconds
 */
/**
 * Decide whether a chain grants `needed` in a space; checks 4 to 17 of docs/tokens.md 7.3 in their order.
 *
 * @param {UcanChain} chain
 * @param {ChainQuestion} question
 * @throws {UcanRefused} the first thing that is wrong
 */
export function checkChain({ links, leaf }: UcanChain, question: ChainQuestion): void;
/**
 * Whether holding one permission is enough where another one is asked for.
 *
 * @param {Permission} held
 * @param {Permission} needed
 * @returns {boolean}
 */
export function covers(held: Permission, needed: Permission): boolean;
/** @import { DeviceKey } from "./keys.js" */
/** Longer texts are refused unread. */
export const UCAN_CHARS_MAX: 65536;
export const CHAIN_LINKS_MAX: 8;
/**
 * @typedef {object} Ucan One token whose signature is right; whether it grants anything `checkChain` decides.
 * @property {string} cid hex SHA-256 of the text: what a revocation names
 * @property {string} twinCid CID of the other text that verifies (docs/tokens.md 7.5)
 * @property {string} issuer
 * @property {Uint8Array} issuerKey compressed point, 33 bytes
 * @property {string | undefined} audience the first of `aud`, the only one that counts
 * @property {string} command
 * @property {Permission | undefined} permission what the command grants
 * @property {string} resource `space:` and an id
 * @property {boolean} nonce whether there is one
 * @property {bigint | undefined} exp
 * @property {bigint | undefined} nbf
 * @property {number} expiresAt Unix seconds; 0 without `exp`
 * @property {readonly string[]} proofs the texts of `prf`
 */
/**
 * @typedef {object} UcanChain The links from a token towards the root, as far as they can be read.
 * @property {readonly Ucan[]} links at most nine
 * @property {Ucan} leaf the token presented
 * @property {readonly string[]} cids what to look for among revocations
 */
/**
 * A token that is refused. `code` is `invalid_ucan`, `identity_mismatch`, `resource_mismatch`,
 * `attenuation_violation`, `ucan_expired`, `ucan_revoked`, `root_mismatch` or `chain_too_deep`.
 */
export class UcanRefused extends LessSyncError {
    /**
     * @param {string} code
     * @param {number} [depth] which link, counted from 0
     * @param {{cause?: unknown}} [options]
     */
    constructor(code: string, depth?: number, options?: {
        cause?: unknown;
    });
    depth: number;
}
/**
 * What every link is held against.
 */
export type ChainQuestion = {
    /**
     * the DID the token must have been given to
     */
    audience: string;
    needed: Permission;
    space: string;
    /**
     * the space's root key, 33 bytes; where it is not known, the last link's
     */
    rootKey: Uint8Array;
    /**
     * CIDs
     */
    revoked: Pick<ReadonlySet<string>, "has">;
    /**
     * Unix seconds
     */
    nowS: number;
};
export type Permission = "read" | "write" | "admin";
/**
 * One token whose signature is right; whether it grants anything `checkChain` decides.
 */
export type Ucan = {
    /**
     * hex SHA-256 of the text: what a revocation names
     */
    cid: string;
    /**
     * CID of the other text that verifies (docs/tokens.md 7.5)
     */
    twinCid: string;
    issuer: string;
    /**
     * compressed point, 33 bytes
     */
    issuerKey: Uint8Array;
    /**
     * the first of `aud`, the only one that counts
     */
    audience: string | undefined;
    command: string;
    /**
     * what the command grants
     */
    permission: Permission | undefined;
    /**
     * `space:` and an id
     */
    resource: string;
    /**
     * whether there is one
     */
    nonce: boolean;
    exp: bigint | undefined;
    nbf: bigint | undefined;
    /**
     * Unix seconds; 0 without `exp`
     */
    expiresAt: number;
    /**
     * the texts of `prf`
     */
    proofs: readonly string[];
};
/**
 * The links from a token towards the root, as far as they can be read.
 */
export type UcanChain = {
    /**
     * at most nine
     */
    links: readonly Ucan[];
    /**
     * the token presented
     */
    leaf: Ucan;
    /**
     * what to look for among revocations
     */
    cids: readonly string[];
};
import type { DeviceKey } from "./keys.js";
import { LessSyncError } from "./errors.js";
