/**
 * `did:key` of P-256 public keys: `did:key:z` and base58btc of `80 24` and the 33 bytes of the compressed
 * point.
 *
 * Browsers import no compressed point, so it is decompressed here: y is a square root modulo p, which is
 * one power because p = 3 mod 4. All of it is public, so its time may depend on it.
 */

import { concat, equal, fromHex, hex, utf8 } from "./bytes.js";
import { Bounded } from "./bounded.js";
import { Refused } from "./errors.js";

const PREFIX = "did:key:z";
const MULTICODEC = Uint8Array.of(0x80, 0x24);
/** Of the base58 part: decoding it takes time in the square of its length. */
const BYTES_MAX = 256;
const POINT_BYTES = 33;
/** Digits and letters in the order of their codes, without those that look alike. */
const ALPHABET = String.fromCharCode(...Array(123).keys()).replace(/[^1-9A-HJ-NP-Za-km-z]/g, "");

const P = 2n ** 256n - 2n ** 224n + 2n ** 192n + 2n ** 96n - 1n;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

/**
 * @typedef {object} PublicPoint A decoded DID.
 * @property {Uint8Array} compressed 33 bytes: 02 or 03 for an even or odd y, then x.
 * @property {Uint8Array} x 32 bytes.
 * @property {Uint8Array} y 32 bytes.
 * @property {Uint8Array} point 65 bytes: 04, x, y.
 */

/** @type {Bounded<string, PublicPoint>} Decompressing costs most, and a few people sign most tokens. */
const decoded = new Bounded(256);

/**
 * The DID of a public key.
 *
 * @param {Uint8Array} point 33 bytes compressed, or 65 bytes uncompressed.
 * @returns {string}
 */
export function encodeDid(point) {
  const compressed =
    point.length === POINT_BYTES
      ? point
      : concat(Uint8Array.of(2 + ((point[64] ?? 0) & 1)), point.subarray(1, POINT_BYTES));
  let number = BigInt(`0x${hex(concat(MULTICODEC, compressed))}`);
  let text = "";
  for (; number > 0n; number /= 58n) text = ALPHABET.charAt(Number(number % 58n)) + text;
  return PREFIX + text;
}

/**
 * Decode a `did:key`; the checks and their order are those of docs/tokens.md 5.
 *
 * @param {string} did
 * @returns {PublicPoint}
 * @throws {Refused} `bad_did`
 */
export function decodeDid(did) {
  const known = decoded.get(did);
  if (known) return known;
  if (!did.startsWith(PREFIX) || did.length === PREFIX.length) throw refused();
  const encoded = did.slice(PREFIX.length);
  if (utf8(encoded).length > BYTES_MAX) throw refused();
  const compressed = pointBytes(base58(encoded));
  return decoded.set(did, decompress(compressed));
}

function refused() {
  return new Refused("bad_did", "not the did:key of a P-256 key");
}

/** @param {string} text */
function base58(text) {
  let number = 0n;
  for (const one of text) {
    const digit = ALPHABET.indexOf(one);
    if (digit < 0) throw refused();
    number = number * 58n + BigInt(digit);
  }
  const zeros = text.length - text.replace(/^1+/, "").length;
  const digits = number === 0n ? "" : number.toString(16);
  return concat(new Uint8Array(zeros), fromHex(digits.length % 2 ? `0${digits}` : digits));
}

/** @param {Uint8Array} bytes */
function pointBytes(bytes) {
  const point = bytes.subarray(2);
  if (!equal(bytes.subarray(0, 2), MULTICODEC) || point.length !== POINT_BYTES) throw refused();
  return point;
}

/**
 * @param {Uint8Array} compressed
 * @returns {PublicPoint}
 */
function decompress(compressed) {
  const sign = compressed[0];
  const x = compressed.slice(1);
  const number = BigInt(`0x${hex(x)}`);
  // 05 would be a compact form that no client writes: one key, one DID.
  if ((sign !== 2 && sign !== 3) || number >= P) throw refused();
  const square = (((number * number - 3n) % P) * number + B) % P;
  const positive = (square + P) % P;
  let root = power(positive, (P + 1n) / 4n);
  if ((root * root) % P !== positive) throw refused();
  // y = 0 has no odd twin, but no point of this curve has it: its order is odd.
  if (Number(root & 1n) !== sign - 2) root = P - root;
  const y = fromHex(root.toString(16).padStart(64, "0"));
  return { compressed: compressed.slice(), x, y, point: concat(Uint8Array.of(4), x, y) };
}

/**
 * @param {bigint} base
 * @param {bigint} exponent
 */
function power(base, exponent) {
  let result = 1n;
  for (; exponent > 0n; exponent >>= 1n) {
    if (exponent & 1n) result = (result * base) % P;
    base = (base * base) % P;
  }
  return result;
}
