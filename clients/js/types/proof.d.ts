/**
 * A fresh proof for a token: the parameter `did_proof` of `auth` and `token.refresh`, and the header
 * `X-DID-Proof`.
 *
 * @param {import("./keys.js").DeviceKey} device
 * @param {string} token the access token it is shown with
 * @param {{nowS?: number, lifetimeS?: number}} [options] Unix seconds
 * @returns {Promise<string>}
 */
export function didProof(device: import("./keys.js").DeviceKey, token: string, { nowS, lifetimeS }?: {
    nowS?: number;
    lifetimeS?: number;
}): Promise<string>;
