import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fromHex, hex } from "../src/bytes.js";
import { CborError, decode, encode } from "../src/cbor.js";

/** Values and their one shortest spelling, most of them from RFC 8949, appendix A. */
const SPELLED = /** @type {[unknown, string][]} */ ([
  [0, "00"], [23, "17"], [24, "1818"], [255, "18ff"], [256, "190100"], [65535, "19ffff"],
  [65536, "1a00010000"], [2 ** 32 - 1, "1affffffff"], [2 ** 32, "1b0000000100000000"],
  [Number.MAX_SAFE_INTEGER, "1b001fffffffffffff"], [2n ** 53n, "1b0020000000000000"],
  [2n ** 64n - 1n, "1bffffffffffffffff"],
  [-1, "20"], [-24, "37"], [-25, "3818"], [-256, "38ff"], [-257, "390100"], [-4294967296, "3affffffff"],
  [Number.MIN_SAFE_INTEGER, "3b001ffffffffffffe"], [-(2n ** 53n), "3b001fffffffffffff"],
  [-(2n ** 64n), "3bffffffffffffffff"],
  [new Uint8Array(0), "40"], [new Uint8Array([1, 2]), "420102"],
  ["", "60"], ["IETF", "6449455446"], ["ü水𐅑", "69c3bce6b0b4f0908591"],
  [[], "80"], [[1, [2, "a"]], "820182026161"],
  [{}, "a0"], [{ b: 1, a: [null, true, false] }, "a2616201616183f6f5f4"],
]);

test("every value has its shortest spelling and comes back", () => {
  for (const [value, digits] of SPELLED) {
    assert.equal(hex(encode(value)), digits);
    assert.equal(hex(encode(decode(fromHex(digits)))), digits);
    const back = decode(fromHex(digits));
    if (typeof value !== "object") assert.equal(back, value);
  }
});

test("longer spellings of integers and lengths are read", () => {
  for (const [digits, value] of [["1800", 0], ["1b0000000000000001", 1], ["3900ff", -256], ["780161", "a"]]) {
    assert.equal(decode(fromHex(String(digits))), value);
  }
});

test("undefined members are left out, and the order of keys stays", () => {
  assert.equal(hex(encode({ z: 1, gone: undefined, a: 2 })), "a2617a01616102");
});

test("objects that are read have no prototype, so no name is special", () => {
  const read = /** @type {any} */ (decode(encode(JSON.parse('{"__proto__": 1, "constructor": 2}'))));
  assert.equal(Object.getPrototypeOf(read), null);
  assert.deepEqual(Object.entries(read), [["__proto__", 1], ["constructor", 2]]);
  assert.equal(hex(encode(read)), hex(encode(JSON.parse('{"__proto__": 1, "constructor": 2}'))));
});

test("byte strings are copies, and views are read where they begin", () => {
  const frame = fromHex("ff420102ff");
  const read = /** @type {Uint8Array} */ (decode(frame.subarray(1, 4)));
  frame.fill(0);
  assert.deepEqual(read, new Uint8Array([1, 2]));
  assert.equal(read.buffer.byteLength, 2);
});

test("what is not of this kind is refused", () => {
  const refused = {
    "nothing": "", "cut short": "1a0001", "a text cut short": "6261", "a map cut short": "a16161",
    "bytes behind": "0000", "a tag": "c000", "tag 64": "d84041ff", "a float": "f93c00",
    "a double": "fb3ff199999999999a", "undefined": "f7", "simple 255": "f8ff", "break": "ff",
    "indefinite bytes": "5f4101ff", "indefinite text": "7f6161ff", "indefinite array": "9f01ff",
    "indefinite map": "bf616101ff", "reserved": "1c", "a number as key": "a10000", "bytes as key": "a1416100",
    "a key twice": "a2616100616101", "no UTF-8": "62c328", "an array that lies": "9affffffff",
    "a map that lies": "bb7fffffffffffffff", "bytes that lie": "5bffffffffffffffff",
  };
  for (const [name, digits] of Object.entries(refused)) {
    assert.throws(() => decode(fromHex(digits)), CborError, name);
  }
});

test("what has no CBOR of this kind is not written", () => {
  const circle = { inside: /** @type {unknown} */ (null) };
  circle.inside = circle;
  const values = [
    1.5, NaN, Infinity, 2 ** 53, 2n ** 64n, -(2n ** 64n) - 1n, undefined, [undefined], () => 1, Symbol("a"),
    new Date(), new Map(), new ArrayBuffer(1), "\ud800", { "\udc00": 1 }, circle,
  ];
  for (const value of values) assert.throws(() => encode(value), CborError);
});

test("32 levels are read and written, 33 are not", () => {
  const nested = (/** @type {number} */ levels) => "81".repeat(levels) + "00";
  assert.equal(hex(encode(decode(fromHex(nested(32))))), nested(32));
  assert.throws(() => decode(fromHex(nested(33))), CborError);
  assert.throws(() => decode(fromHex("81".repeat(100000))), CborError);
});

test("a frame of four mebibytes survives", () => {
  const blob = new Uint8Array(1 << 20).map((_, at) => at * 7);
  const read = /** @type {any} */ (decode(encode({ blobs: [blob, blob, blob, blob] })));
  assert.deepEqual(read.blobs[3], blob);
});

/**
 * Messages of recorded conversations, hex.
 *
 * @returns {string[]}
 */
function recorded() {
  const file = new URL("../../../tests/vectors/wire.json", import.meta.url);
  /** @type {string[]} */
  const found = [];
  /** @param {unknown} value */
  const collect = (value) => {
    if (typeof value === "string" && /^a[0-9a-f](?:[0-9a-f]{2}){8,}$/.test(value)) found.push(value);
    else if (typeof value === "object" && value !== null) Object.values(value).forEach(collect);
  };
  collect(JSON.parse(readFileSync(file, "utf8")));
  return found;
}

test("frames of recorded conversations are read, and written again to the byte", () => {
  let same = 0;
  for (const digits of recorded()) {
    let value;
    try {
      value = decode(fromHex(digits));
    } catch {
      continue; // The recordings hold broken frames on purpose.
    }
    if (hex(encode(value)) === digits) same++;
  }
  assert.ok(same > 1200, `${same} frames`);
});
