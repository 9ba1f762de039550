/** The proof that a device has the key of its DID, tied to one access token (docs/encryption.md 10). */

import { b64url, sha256, utf8 } from "./bytes.js";
import { signJws } from "./jose.js";

const TYP = "less-sync-did-proof";
/** A proof is worth nothing without its token, which ends earlier: a day bears with clocks that are wrong. */
const LIFETIME_S = 86_400;

/**
 * A fresh proof for a token: the parameter `did_proof` of `auth` and `token.refresh`, and the header
 * `X-DID-Proof`.
 *
 * @param {import("./keys.js").DeviceKey} device
 * @param {string} token the access token it is shown with
 * @param {{nowS?: number, lifetimeS?: number}} [options] Unix seconds
 * @returns {Promise<string>}
 */
export async function didProof(device, token, { nowS = Date.now() / 1000, lifetimeS = LIFETIME_S } = {}) {
  const ath = b64url(await sha256(utf8(token)));
  const claims = { iss: device.did, ath, exp: Math.floor(nowS) + lifetimeS };
  return signJws(device, TYP, utf8(JSON.stringify(claims)));
}
