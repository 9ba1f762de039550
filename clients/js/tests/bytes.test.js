import assert from "node:assert/strict";
import { test } from "node:test";
import * as bytes from "../src/bytes.js";

const SAMPLE = new Uint8Array([0, 1, 0x7f, 0x80, 0xfb, 0xff]);

test("text survives UTF-8, a byte order mark included", () => {
  for (const value of ["", "a", "ä€𝄞", "\uFEFFa", "\0"]) {
    assert.equal(bytes.text(bytes.utf8(value)), value);
  }
  assert.deepEqual(bytes.utf8("€"), new Uint8Array([0xe2, 0x82, 0xac]));
});

test("bytes that are not UTF-8 are refused", () => {
  for (const digits of ["ff", "c0af", "eda080", "e282", "f4908080"]) {
    assert.throws(() => bytes.text(bytes.fromHex(digits)), TypeError);
  }
});

test("hex is read in either case and written in lower case", () => {
  assert.equal(bytes.hex(SAMPLE), "00017f80fbff");
  assert.deepEqual(bytes.fromHex("00017F80fBff"), SAMPLE);
  for (const wrong of ["0", "0g", " 00", "0x00", "00 ", "é0"]) {
    assert.throws(() => bytes.fromHex(wrong), RangeError);
  }
});

test("base64 and base64url are read strictly", () => {
  assert.equal(bytes.b64(SAMPLE), "AAF/gPv/");
  assert.equal(bytes.b64url(SAMPLE), "AAF_gPv_");
  assert.equal(bytes.b64(new Uint8Array([255])), "/w==");
  assert.equal(bytes.b64url(new Uint8Array([255])), "_w");
  assert.deepEqual(bytes.fromB64("/w=="), new Uint8Array([255]));
  assert.deepEqual(bytes.fromB64url("_w"), new Uint8Array([255]));
  for (const wrong of ["_w==", "/w", "/x==", "/w=", "/w ==", "=", "A"]) {
    assert.throws(() => bytes.fromB64(wrong), RangeError);
  }
  for (const wrong of ["/w", "_w==", "_x", "_w ", "A", "+w"]) {
    assert.throws(() => bytes.fromB64url(wrong), RangeError);
  }
});

test("a mebibyte survives base64", () => {
  const large = new Uint8Array(1 << 20).map((_, at) => at * 31);
  assert.deepEqual(bytes.fromB64(bytes.b64(large)), large);
});

test("joined bytes do not share memory with their parts", () => {
  const part = new Uint8Array([1, 2]);
  const joined = bytes.concat(part, new Uint8Array(0), new Uint8Array([3]));
  part[0] = 9;
  assert.deepEqual(joined, new Uint8Array([1, 2, 3]));
});

test("bytes are equal when all are", () => {
  assert.equal(bytes.equal(SAMPLE, SAMPLE.slice()), true);
  assert.equal(bytes.equal(SAMPLE, SAMPLE.subarray(1)), false);
  assert.equal(bytes.equal(SAMPLE, SAMPLE.map((byte, at) => (at === 5 ? byte ^ 1 : byte))), false);
  assert.equal(bytes.equal(new Uint8Array(0), new Uint8Array(0)), true);
});

test("a number takes four bytes", () => {
  assert.equal(bytes.hex(bytes.u32be(0)), "00000000");
  assert.equal(bytes.hex(bytes.u32be(0xfffefdfc)), "fffefdfc");
  for (const wrong of [-1, 2 ** 32, 1.5, NaN]) assert.throws(() => bytes.u32be(wrong), RangeError);
});

test("a UUID is 16 bytes and 36 characters", () => {
  const spelled = "00112233-4455-6677-8899-aabbccddeeff";
  assert.equal(bytes.uuidText(bytes.uuidBytes(spelled.toUpperCase())), spelled);
  const others = [spelled.replaceAll("-", ""), `{${spelled}}`, `${spelled}\n`, `g${spelled.slice(1)}`];
  for (const wrong of ["", ...others]) {
    assert.throws(() => bytes.uuidBytes(wrong), RangeError);
  }
  assert.throws(() => bytes.uuidText(new Uint8Array(15)), RangeError);
});

test("random UUIDs are of version 4 and differ", () => {
  const made = new Set(Array.from({ length: 100 }, () => bytes.randomUuid()));
  assert.equal(made.size, 100);
  const shape = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  for (const id of made) assert.match(id, shape);
});

test("SHA-256 is that of the standard", async () => {
  const digest = await bytes.sha256(bytes.utf8("abc"));
  assert.equal(bytes.hex(digest), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const part = await bytes.sha256(bytes.utf8("xabcx").subarray(1, 4));
  assert.deepEqual(part, digest);
});
