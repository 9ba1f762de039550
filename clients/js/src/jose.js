/**
 * Compact JWS with ES256 (RFC 7515) and compact JWE with ECDH-ES and A256GCM (RFC 7516, 7518 4.6): the one
 * form of each that is used here. A `typ` keeps a signature made for one purpose from passing for another.
 */

import { b64url, concat, fromB64url, randomBytes, sha256, u32be, utf8 } from "./bytes.js";
import { Bounded } from "./bounded.js";
import { decodeDid } from "./did.js";
import { Refused } from "./errors.js";
import { agreeOnce, verifier } from "./keys.js";
import { parseJsonObject } from "./json.js";
import { gcmKey, gcmOpen, gcmSeal } from "./webcrypto.js";

/** @import { DeviceKey } from "./keys.js" */

const ENC = "A256GCM";
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** Longer texts are refused unread. */
const CHARS_MAX = 131_072;
/** More is neither signed nor verified: all clients have to agree what counts. */
export const SIGNED_BYTES_MAX = 96_000;
/** More is neither sealed nor opened. */
export const SEALED_BYTES_MAX = 49_152;
const JWS_HEADER_CHARS_MAX = 512;
const JWE_HEADER_CHARS_MAX = 1024;
const SIGNATURE_BYTES = 64;

/** @type {Bounded<string, Promise<(signature: Uint8Array, bytes: Uint8Array) => Promise<boolean>>>} */
const verifiers = new Bounded(256);

/**
 * Sign as the owner of a device's DID.
 *
 * @param {DeviceKey} device
 * @param {string} typ what kind of statement this is
 * @param {Uint8Array} payload
 * @returns {Promise<string>} a compact JWS
 * @throws {Refused} `too_large`: more than `SIGNED_BYTES_MAX`
 */
export async function signJws(device, typ, payload) {
  if (payload.length > SIGNED_BYTES_MAX) throw new Refused("too_large", "too large");
  return signCompact(device, { alg: "ES256", typ }, payload);
}

/**
 * @param {DeviceKey} device
 * @param {{alg: "ES256", typ: string}} header
 * @param {Uint8Array} payload
 * @returns {Promise<string>}
 */
export async function signCompact(device, header, payload) {
  const input = `${b64url(utf8(JSON.stringify(header)))}.${b64url(payload)}`;
  return `${input}.${b64url(await device.sign(utf8(input)))}`;
}

/**
 * The payload of a JWS of this kind that the owner of `did` signed; null for any other text.
 *
 * @param {string} text
 * @param {string} did
 * @param {string} typ
 * @returns {Promise<Uint8Array | null>}
 */
export async function verifyJws(text, did, typ) {
  try {
    const parts = splitJws(text);
    // `alg` and `typ` and nothing else: who reads `kid` or `jku` elsewhere would read another text.
    if (parts.header.typ !== typ || Object.keys(parts.header).length !== 2) return null;
    const headerChars = parts.input.indexOf(".");
    if (parts.payload.length > SIGNED_BYTES_MAX || headerChars > JWS_HEADER_CHARS_MAX) return null;
    return (await signedBy(did, parts)) ? parts.payload : null;
  } catch {
    return null; // whatever is wrong with it, it is none of ours
  }
}

/**
 * The payload of a JWS whose signer is named inside, not verified yet; null when it is none.
 *
 * @param {string} text
 * @returns {Uint8Array | null}
 */
export function unverifiedPayload(text) {
  try {
    return splitJws(text).payload;
  } catch {
    return null;
  }
}

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
export function splitJws(text) {
  const segments = text.length > CHARS_MAX ? [] : text.split(".");
  if (segments.length !== 3) throw new SyntaxError("no JWS");
  const [head = "", body = "", tail = ""] = segments;
  const header = parseJsonObject(fromB64url(head));
  if (header.alg !== "ES256" || "crit" in header) throw new SyntaxError("no ES256");
  if (![header.typ, header.kid].every((one) => one == null || isText(one))) throw new SyntaxError("no text");
  const signature = fromB64url(tail);
  if (signature.length !== SIGNATURE_BYTES) throw new SyntaxError("no signature");
  return { header, payload: fromB64url(body), signature, input: `${head}.${body}` };
}

/**
 * Whether the key of a DID made the signature.
 *
 * @param {string} did
 * @param {JwsParts} parts
 * @returns {Promise<boolean>}
 * @throws {Refused} `bad_did`: no P-256 `did:key`
 */
export async function signedBy(did, { signature, input }) {
  const verify = verifiers.get(did) ?? verifiers.set(did, verifier(decodeDid(did).point));
  return (await verify)(signature, utf8(input));
}

/**
 * Whether a value is a text that UTF-8 can hold.
 *
 * @param {unknown} value
 * @returns {value is string}
 */
export function isText(value) {
  return typeof value === "string" && !/\p{Surrogate}/u.test(value);
}

/**
 * Encrypt for the owner of a DID alone. It says nothing about its author: sign around it.
 *
 * @param {string} did
 * @param {Uint8Array} plain
 * @returns {Promise<string>} a compact JWE
 * @throws {Refused} `bad_did`: no P-256 `did:key`
 * @throws {Refused} `too_large`: more than `SEALED_BYTES_MAX`
 */
export async function sealFor(did, plain) {
  if (plain.length > SEALED_BYTES_MAX) throw new Refused("too_large", "too large");
  const { x, y, secret } = await agreeOnce(decodeDid(did).point);
  const epk = { crv: "P-256", kty: "EC", x, y };
  const header = b64url(utf8(JSON.stringify({ alg: "ECDH-ES", enc: ENC, epk })));
  const iv = randomBytes(IV_BYTES);
  const key = await contentKey(secret, new Uint8Array(), new Uint8Array());
  const sealed = await gcmSeal(key, iv, plain, utf8(header));
  const end = sealed.length - TAG_BYTES;
  return [header, "", b64url(iv), b64url(sealed.subarray(0, end)), b64url(sealed.subarray(end))].join(".");
}

/**
 * Decrypt what `sealFor` made; null when it is for somebody else, or altered.
 *
 * @param {string} text
 * @param {DeviceKey} device
 * @param {boolean} [plain] only in the form that `sealFor` writes: where all clients have to agree what counts
 * @returns {Promise<Uint8Array | null>}
 */
export async function openSealed(text, device, plain = false) {
  try {
    const segments = text.length > CHARS_MAX ? [] : text.split(".");
    const [head = "", wrapped, iv = "", body = "", tag = ""] = segments;
    const ciphertext = fromB64url(body);
    const small = ciphertext.length <= SEALED_BYTES_MAX && head.length <= JWE_HEADER_CHARS_MAX;
    if (segments.length !== 5 || wrapped !== "" || !small) return null;
    const header = parseJsonObject(fromB64url(head));
    const secret = await device.agree(sendersPoint(header, plain));
    const key = await contentKey(secret, party(header.apu), party(header.apv));
    const nonce = fromB64url(iv);
    const mark = fromB64url(tag);
    if (nonce.length !== IV_BYTES || mark.length !== TAG_BYTES) return null;
    return await gcmOpen(key, nonce, concat(ciphertext, mark), utf8(head));
  } catch {
    return null;
  }
}

/**
 * @param {Record<string, unknown>} header
 * @param {boolean} plain whether other members than these are refused
 * @returns {Uint8Array}
 */
function sendersPoint({ alg, enc, epk, ...rest }, plain) {
  const { kty, crv, x, y, ...more } = /** @type {Record<string, unknown>} */ (Object(epk));
  const [across, up] = /** @type {[Uint8Array, Uint8Array]} */ ([x, y].map((one) => fromB64url(String(one))));
  const known = alg === "ECDH-ES" && enc === ENC && kty === "EC" && crv === "P-256" && across.length === 32;
  const others = Object.keys({ ...rest, ...more });
  if (!known || "zip" in rest || "crit" in rest || (plain && others.length)) throw new SyntaxError("no such JWE");
  return concat(Uint8Array.of(4), across, up);
}

/** @param {unknown} info `apu` or `apv` of a header */
function party(info) {
  return info === undefined ? new Uint8Array() : fromB64url(String(info));
}

/**
 * Concat KDF (RFC 7518 4.6.2): one round gives all 256 bits.
 *
 * @param {Uint8Array} secret
 * @param {Uint8Array} apu
 * @param {Uint8Array} apv
 */
async function contentKey(secret, apu, apv) {
  const fields = [utf8(ENC), apu, apv].map((one) => concat(u32be(one.length), one));
  return gcmKey(await sha256(concat(u32be(1), secret, ...fields, u32be(256))));
}
