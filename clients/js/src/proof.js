/** The proof that a device has the key of its DID, tied to one access token (docs/encryption.md 10). */

import { b64url, fromB64url, sha256, text, utf8 } from "./bytes.js";
import { signJws } from "./jose.js";

const TYP = "less-sync-did-proof";
const inADay = () => Math.floor(Date.now() / 1000) + 86_400;

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
export async function didProof(device, token, exp = endOf(token) ?? inADay()) {
  const ath = b64url(await sha256(utf8(token)));
  return signJws(device, TYP, utf8(JSON.stringify({ iss: device.did, ath, exp })));
}

/**
 * When a token ends, by the clock of who issued it: that of this device may be wrong.
 *
 * @param {string} token
 * @returns {number | undefined} Unix seconds
 */
function endOf(token) {
  try {
    const { exp } = JSON.parse(text(fromB64url(token.split(".")[1] ?? "")));
    return Number.isSafeInteger(exp) ? exp : undefined;
  } catch {
    return undefined; // A token that only its issuer and the server can read.
  }
}
