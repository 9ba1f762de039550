/**
 * A token, or what gives one: it is asked for each connection, so give one that renews. It is told the DID of
 * this device, which some issuers put into the token; "" without a device.
 *
 * @typedef {string | ((did: string) => string | Promise<string>)} TokenSource
 */
/**
 * @typedef {object} Credentials
 * @property {string} token
 * @property {string} [proof] that this device has the key of its DID (docs/tokens.md); none without a device.
 */
/** The tokens of a source. Whoever asks at the same time shares one. */
export class Tokens {
    /**
     * @param {TokenSource} source
     * @param {import("./keys.js").DeviceKey | undefined} device
     * @param {import("./clock.js").Clock} clock
     * @param {number} limitMs for the source.
     */
    constructor(source: TokenSource, device: import("./keys.js").DeviceKey | undefined, clock: import("./clock.js").Clock, limitMs: number);
    /**
     * A new token of the source.
     *
     * @returns {Promise<Credentials>}
     * @throws {TokenUnavailable}
     */
    fresh(): Promise<Credentials>;
    /**
     * The last token, or a new one if there is none or it is the one that was refused.
     *
     * @param {string} [refused]
     * @returns {Promise<Credentials>}
     * @throws {TokenUnavailable}
     */
    kept(refused?: string): Promise<Credentials>;
    #private;
}
/**
 * A token, or what gives one: it is asked for each connection, so give one that renews. It is told the DID of
 * this device, which some issuers put into the token; "" without a device.
 */
export type TokenSource = string | ((did: string) => string | Promise<string>);
export type Credentials = {
    token: string;
    /**
     * that this device has the key of its DID (docs/tokens.md); none without a device.
     */
    proof?: string | undefined;
};
