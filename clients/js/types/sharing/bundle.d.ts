/** @typedef {import("../ucan.js").Ucan} Ucan */
/**
 * An opened bundle. `keys`, `log` and `home` are as in `SharedState`.
 *
 * @typedef {object} Bundle
 * @property {string} space
 * @property {string} ucan
 * @property {Ucan} token
 * @property {Record<string, string>} keys
 * @property {import("./state.js").LogPlace} log A server that shows a log from before is caught.
 * @property {string} home Empty: the server that is asked.
 */
/**
 * Bundle a UCAN that the device's owner has just issued with what they know of its space, for its audience.
 *
 * @param {string} ucan
 * @param {import("./state.js").SharedState} state
 * @param {import("../keys.js").DeviceKey} device
 * @returns {Promise<string>}
 * @throws {Refused} `not_ours`: somebody else issued the UCAN, or it is for another space.
 *   `bundle_too_large`.
 */
export function makeBundle(ucan: string, state: import("./state.js").SharedState, device: import("../keys.js").DeviceKey): Promise<string>;
/**
 * Whether a text looks like a bundle.
 *
 * @param {string} text
 * @returns {boolean}
 */
export function isBundle(text: string): boolean;
/**
 * The UCAN of a bundle, for whomever it is.
 *
 * @param {string} text
 * @returns {Promise<string>}
 * @throws {Refused} `bundle_damaged`: not a bundle, altered, or not signed by the issuer of its UCAN.
 */
export function bundledUcan(text: string): Promise<string>;
/**
 * Open a bundle that was made for the device's owner.
 *
 * @param {string} text
 * @param {import("../keys.js").DeviceKey} device
 * @param {number} now Unix seconds.
 * @returns {Promise<Bundle>}
 * @throws {Refused} `not_for_us`: it was made for another DID. `bundle_damaged`: not a bundle, altered, or
 *   its parts do not belong together. `bundle_unusable`: its token has ended, or its chain is broken.
 */
export function openBundle(text: string, device: import("../keys.js").DeviceKey, now: number): Promise<Bundle>;
/** What fits into a mailbox (docs/protocol.md 7.9). */
export const BUNDLE_CHARS_MAX: 131072;
export type Ucan = import("../ucan.js").Ucan;
/**
 * An opened bundle. `keys`, `log` and `home` are as in `SharedState`.
 */
export type Bundle = {
    space: string;
    ucan: string;
    token: Ucan;
    keys: Record<string, string>;
    /**
     * A server that shows a log from before is caught.
     */
    log: import("./state.js").LogPlace;
    /**
     * Empty: the server that is asked.
     */
    home: string;
};
