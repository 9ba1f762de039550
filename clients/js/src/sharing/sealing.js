/**
 * What members write for members: a JWS by its author's DID, encrypted under the key of an epoch.
 *
 *     01 | epoch u32 big-endian | IV 12 | AES-256-GCM ciphertext and tag, associated data = space id
 *
 * Entries of the log and what is shown to others differ in the `info` their keys are derived with, and in
 * `typ`.
 *
 * @module
 */
import { concat, randomBytes, text, u32be, utf8 } from "../bytes.js";
import { signJws, unverifiedPayload, verifyJws } from "../jose.js";
import { gcmOpen, gcmSeal, hkdf } from "../webcrypto.js";

const VERSION = 1;
const IV_BYTES = 12;
const BODY = 5 + IV_BYTES;

/**
 * Sign and encrypt.
 *
 * @param {Uint8Array} payload
 * @param {{device: import("../keys.js").DeviceKey, typ: string, info: string, space: string, epoch: number,
 *   key: Uint8Array}} how
 * @returns {Promise<Uint8Array>}
 */
export async function sealSigned(payload, { device, typ, info, space, epoch, key }) {
  const signed = utf8(await signJws(device, typ, payload));
  const iv = randomBytes(IV_BYTES);
  const sealed = await gcmSeal(await derived(key, info), iv, signed, utf8(space));
  return concat(Uint8Array.of(VERSION), u32be(epoch), iv, sealed);
}

/**
 * Decrypt and verify: the payload, or null for anything that is not by who `authorOf` says wrote it.
 *
 * @param {Uint8Array} data
 * @param {{typ: string, info: string, space: string, keyOf: (epoch: number) => Uint8Array | undefined,
 *   authorOf: (payload: Uint8Array) => string | null}} how
 * @returns {Promise<Uint8Array | null>}
 */
export async function openSigned(data, { typ, info, space, keyOf, authorOf }) {
  if (data.length <= BODY || data[0] !== VERSION) return null;
  const key = keyOf(new DataView(data.buffer, data.byteOffset).getUint32(1));
  if (!key) return null;
  const signed = await decrypted(data, await derived(key, info), space);
  const payload = signed && unverifiedPayload(signed);
  const author = payload && authorOf(payload);
  return signed && author ? verifyJws(signed, author, typ) : null;
}

/**
 * @param {Uint8Array} data
 * @param {CryptoKey} key
 * @param {string} space
 * @returns {Promise<string | null>}
 */
async function decrypted(data, key, space) {
  try {
    return text(await gcmOpen(key, data.subarray(5, BODY), data.subarray(BODY), utf8(space)));
  } catch {
    return null;
  }
}

/**
 * @param {Uint8Array} key
 * @param {string} info
 * @returns {Promise<CryptoKey>}
 */
function derived(key, info) {
  return hkdf(key, utf8(info), { name: "AES-GCM", length: 256 }, ["encrypt", "decrypt"]);
}
