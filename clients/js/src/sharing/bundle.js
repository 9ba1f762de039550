/**
 * What is handed to a person to let them into a space: one line of text, safe to send in the open.
 *
 *     less-sync-invite-1:<JWS>   compact, ES256, `typ` less-sync-invite, signed by the issuer of the UCAN;
 *                                its payload is the JSON
 *     {"ucan": ..., "jwe": ...}  the UCAN, and for its audience alone
 *     compact JWE, ECDH-ES and A256GCM, to the P-256 key of the audience's DID: the JSON
 *     {"space": ..., "cid": the UCAN's, "keys": {epoch: base64 of 32 bytes},
 *      "log": how far its author read it,
 *      "home": the domain of the space's home server, empty where that is not said}
 *
 * A JWE alone says nothing about its author: the signature does, and the space and CID inside tie the keys to
 * the UCAN beside them, so that nobody can slip other keys under a genuine UCAN.
 *
 * @module
 */
import { fromB64, utf8 } from "../bytes.js";
import { Refused } from "../errors.js";
import { openSealed, sealFor, signJws, unverifiedPayload, verifyJws } from "../jose.js";
import { EPOCH_MAX } from "../space_keys.js";
import { checkChain, parseChain, parseUcan } from "../ucan.js";
import { keyIn, objectIn, textsIn, uuidOf } from "./shapes.js";
import { EPOCH_KEYS_MAX } from "./state.js";

const PREFIX = "less-sync-invite-1:";
const TYP = "less-sync-invite";
/** What fits into a mailbox (docs/protocol.md 7.9). */
export const BUNDLE_CHARS_MAX = 131_072;

const EPOCH_NAME = /^[1-9]\d{0,9}$/;
const DOMAIN = /^(?!.*\.\.)([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\])(:[1-9]\d{0,4})?$/;

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
export async function makeBundle(ucan, state, device) {
  const { cid, issuer, resource, audience } = await parseUcan(ucan);
  if (issuer !== device.did || resource !== `space:${state.space}`) {
    throw new Refused("not_ours", "only the issuer can bundle a token");
  }
  const { space, keys, log = {}, home = "" } = state;
  const jwe = await sealFor(audience ?? "", json({ space, cid, keys, log, ...(home && { home }) }));
  const text = PREFIX + (await signJws(device, TYP, json({ ucan, jwe })));
  if (text.length <= BUNDLE_CHARS_MAX) return text;
  throw new Refused("bundle_too_large", "too many keys for a bundle");
}

/** @param {unknown} value */
function json(value) {
  return utf8(JSON.stringify(value));
}

/**
 * Whether a text looks like a bundle.
 *
 * @param {string} text
 * @returns {boolean}
 */
export function isBundle(text) {
  return text.trim().startsWith(PREFIX);
}

/**
 * The UCAN of a bundle, for whomever it is.
 *
 * @param {string} text
 * @returns {Promise<string>}
 * @throws {Refused} `bundle_damaged`: not a bundle, altered, or not signed by the issuer of its UCAN.
 */
export async function bundledUcan(text) {
  return (await outerOf(text)).ucan;
}

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
export async function openBundle(text, device, now) {
  const { ucan, jwe, token } = await outerOf(text);
  if (token.audience !== device.did) throw new Refused("not_for_us", "given to somebody else");
  const inner = innerOf(await openSealed(jwe, device));
  if (!inner || token.resource !== `space:${inner.space}` || inner.cid !== token.cid) throw damaged();
  await checkUsable(ucan, device.did, inner.space, now);
  const { space, keys, log, home } = inner;
  return { space, ucan, token, keys, log, home };
}

/**
 * @param {string} given
 * @returns {Promise<{ucan: string, jwe: string, token: Ucan}>}
 */
async function outerOf(given) {
  const text = given.trim();
  if (!isBundle(text) || text.length > BUNDLE_CHARS_MAX) throw damaged();
  const signed = text.slice(PREFIX.length);
  const outer = objectIn(unverifiedPayload(signed));
  const found = outer ? textsIn(outer, { ucan: null, jwe: null }) : null;
  const token = found && (await parseUcan(found.ucan).catch(() => null));
  if (!found || !token || !(await verifyJws(signed, token.issuer, TYP))) throw damaged();
  return { ...found, token };
}

/** @param {Uint8Array | null} plain */
function innerOf(plain) {
  const object = objectIn(plain);
  const texts = object && textsIn(object, { cid: null, home: "" });
  const space = object && uuidOf(object.members.space);
  if (!object || !texts || !space || (texts.home && !DOMAIN.test(texts.home))) return null;
  const keys = keysIn(object.members.keys);
  const log = placeIn(object.members.log);
  return keys && log && { space, ...texts, keys, log };
}

/**
 * @param {unknown} value
 * @returns {Record<string, string> | null}
 */
function keysIn(value) {
  const found = Object.entries(value ?? {});
  const sound = found.every(([epoch, key]) => {
    return EPOCH_NAME.test(epoch) && Number(epoch) <= EPOCH_MAX && keyIn(key) !== null;
  });
  return sound && found.length && found.length <= EPOCH_KEYS_MAX ? Object.fromEntries(found) : null;
}

/**
 * @param {any} value
 * @returns {import("./state.js").LogPlace | null}
 */
function placeIn(value = {}) {
  if (value === null) return null;
  const { entries = 0, digest = "" } = value;
  if (!Number.isSafeInteger(entries) || entries < 0 || typeof digest !== "string") return null;
  try {
    return fromB64(digest).length === (entries ? 32 : 0) ? { entries, digest } : null;
  } catch {
    return null;
  }
}

/**
 * What can be known without the server: the whole chain, but for its root key and revocations.
 *
 * @param {string} ucan
 * @param {string} audience
 * @param {string} space
 * @param {number} now
 */
async function checkUsable(ucan, audience, space, now) {
  try {
    const chain = await parseChain(ucan);
    const rootKey = /** @type {Ucan} */ (chain.links.at(-1)).issuerKey;
    checkChain(chain, { audience, needed: "read", space, rootKey, revoked: new Set(), nowS: now });
  } catch (cause) {
    throw new Refused("bundle_unusable", "ask for another bundle", { cause });
  }
}

function damaged() {
  return new Refused("bundle_damaged", "damaged: copy the whole line again");
}
