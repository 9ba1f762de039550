/**
 * A fresh proof for a token: the parameter `did_proof` of `auth` and `token.refresh`, and the header
 * `X-DID-Proof`.
 *
 * @param {import("./keys.js").DeviceKey} device
 * @param {string} token the access token it is shown with
 * @param {number} [exp] Unix seconds until which it is good: as long as the token unless told otherwise, or a
 *   day from now where the token does not say.
 * @returns {Promise<string>}
 */
export function didProof(device: import("./keys.js").DeviceKey, token: string, exp?: number): Promise<string>;
