import assert from "node:assert/strict";
import { test } from "node:test";
import { Bounded } from "../src/bounded.js";
import { b64url, concat, utf8 } from "../src/bytes.js";
import { decodeDid, encodeDid } from "../src/did.js";
import { Undecryptable } from "../src/errors.js";
import { integerMember, readJsonObject } from "../src/json.js";
import { openSealed, sealFor, signCompact, signJws, verifyJws } from "../src/jose.js";
import { DeviceKey } from "../src/keys.js";
import { CHUNK_BYTES, openPart, sealPart } from "../src/parts.js";
import { didProof } from "../src/proof.js";
import { BLOB_BYTES_MAX, contentBytesMax, SpaceKeys } from "../src/space_keys.js";
import { encodeFile } from "../src/plaintext.js";
import { covers, delegate, issueRoot, parseChain, parseUcan } from "../src/ucan.js";

const SPACE = "5f0c8a52-6f0e-4c57-9b1e-0d2f6a3b7c11";

test("a device's key survives structured clone, works as before and cannot be read", async () => {
  const device = await DeviceKey.generate();
  const kept = structuredClone(device.stored());
  assert.deepEqual([kept.sign.extractable, kept.agree.extractable], [false, false]);
  await assert.rejects(crypto.subtle.exportKey("jwk", kept.sign));
  const back = DeviceKey.fromStored(kept);
  assert.equal(back.did, device.did);
  assert.ok(await verifyJws(await signJws(back, "x", new Uint8Array(3)), device.did, "x"));
  const secret = Uint8Array.of(1, 2);
  assert.deepEqual(await openSealed(await sealFor(device.did, secret), back), secret);
  assert.throws(() => back.toJwk(), { code: "not_extractable" });
});

test("a key that was made to be exported is the same when it comes back", async () => {
  const jwk = (await DeviceKey.generate({ extractable: true })).toJwk();
  const back = await DeviceKey.fromJwk({ ...jwk, ...{ key_ops: ["sign"], ext: false, alg: "ES256" } });
  assert.deepEqual((await DeviceKey.fromJwk(jwk)).did, back.did);
  const wrong = [{ d: undefined }, { crv: "P-384" }, { x: "AA" }, { y: jwk.x }, { kty: "OKP" }];
  for (const broken of [{}, ...wrong.map((member) => ({ ...jwk, ...member }))]) {
    await assert.rejects(DeviceKey.fromJwk(broken), { code: "invalid_key" });
  }
});

test("points of both signs are decompressed as WebCrypto has them", async () => {
  const signs = new Set();
  for (let count = 0; count < 40; count++) {
    const { did, point } = await DeviceKey.generate();
    const found = decodeDid(did);
    assert.deepEqual(found.point, point);
    assert.deepEqual(concat(Uint8Array.of(4), found.x, found.y), point);
    assert.equal(encodeDid(found.compressed), did);
    signs.add(found.compressed[0]);
  }
  assert.deepEqual([...signs].sort(), [2, 3]);
});

test("a secret agreed on is the same from both sides", async () => {
  const [one, other] = [await DeviceKey.generate(), await DeviceKey.generate()];
  assert.deepEqual(await one.agree(other.point), await other.agree(one.point));
});

test("a shared space seals under epochs it knows alone, and keeps its record ids", async () => {
  const keys = SpaceKeys.shared({ 3: new Uint8Array(32).fill(3) }, SPACE);
  const id = await keys.recordId("a");
  assert.deepEqual([keys.knows(2), keys.knows(3), keys.knows(4)], [false, true, false]);
  await assert.rejects(keys.seal(id, new Uint8Array(), 4), Undecryptable);
  keys.learn(new Map([2, 3, 4].map((epoch) => [epoch, new Uint8Array(32).fill(9 * epoch)])));
  const sealed = await keys.seal(id, Uint8Array.of(1), 4);
  assert.deepEqual(await keys.open(id, sealed), Uint8Array.of(1));
  assert.equal(await keys.recordId("a"), id);
  const same = SpaceKeys.shared({ 3: new Uint8Array(32).fill(3) }, SPACE.toUpperCase());
  assert.deepEqual(await same.open(id, await keys.seal(id, Uint8Array.of(2), 3)), Uint8Array.of(2));
  assert.throws(() => SpaceKeys.shared({}, SPACE), RangeError);
  assert.throws(() => SpaceKeys.personal(new Uint8Array(31), SPACE), RangeError);
});

test("the largest content of a path just fits into a record", async () => {
  const keys = SpaceKeys.personal(new Uint8Array(32), SPACE);
  const path = "a/b".repeat(100);
  const head = { kind: "file", version: Number.MAX_SAFE_INTEGER, path, mtimeNs: 2n ** 62n };
  const content = new Uint8Array(contentBytesMax(path));
  const { blob } = await keys.seal(await keys.recordId(path), encodeFile({ ...head, content }), 1);
  assert.ok(blob.length <= BLOB_BYTES_MAX && blob.length > BLOB_BYTES_MAX - 32);
  const larger = encodeFile({ ...head, content: new Uint8Array(content.length + 64) });
  await assert.rejects(keys.seal(SPACE, larger, 1), RangeError);
});

test("every sealing has a key and IV of its own", async () => {
  const keys = SpaceKeys.personal(new Uint8Array(32), SPACE);
  const one = await keys.seal(SPACE, new Uint8Array(9), 1);
  const other = await keys.seal(SPACE, new Uint8Array(9), 1);
  assert.notDeepEqual(one.blob.slice(1, 13), other.blob.slice(1, 13));
  assert.notDeepEqual(one.dek, other.dek);
});

test("a part is sealed and opened a chunk at a time, whatever the sizes of the pieces", async () => {
  const keys = SpaceKeys.personal(new Uint8Array(32), SPACE);
  const key = await keys.unwrap(await keys.newDek(1));
  const place = { space: SPACE, content: crypto.randomUUID(), part: crypto.randomUUID() };
  const size = 3 * CHUNK_BYTES;
  let taken = 0;
  async function* plain() {
    for (let at = 0; at < size; at += 2 ** 18) {
      taken += 2 ** 18;
      yield new Uint8Array(2 ** 18).fill(at >> 18);
    }
  }
  const sealed = sealPart(key, new Uint8Array(7), place, size, plain());
  let given = -8;
  let opened = 0;
  async function* counted() {
    for await (const piece of sealed) {
      given += piece.length;
      assert.ok(taken <= given + 16 + CHUNK_BYTES, "no more than a chunk was asked for ahead");
      yield piece;
    }
  }
  for await (const chunk of openPart(key, place, size, counted())) {
    assert.equal(chunk.length, CHUNK_BYTES);
    assert.equal(chunk.at(-1), 4 * (opened / CHUNK_BYTES) + 3);
    opened += chunk.length;
  }
  assert.equal(opened, size);
});

test("a part of another size than was said is neither sealed nor opened", async () => {
  const keys = SpaceKeys.personal(new Uint8Array(32), SPACE);
  const key = await keys.unwrap(await keys.newDek(1));
  const place = { space: SPACE, content: SPACE, part: SPACE };
  const seal = (size, plain) => Array.fromAsync(sealPart(key, new Uint8Array(7), place, size, [plain]));
  await assert.rejects(seal(4, new Uint8Array(3)), RangeError);
  await assert.rejects(seal(4, new Uint8Array(5)), RangeError);
  await assert.rejects(seal(CHUNK_BYTES, new Uint8Array(CHUNK_BYTES + 1)), RangeError);
  const sealed = await seal(4, new Uint8Array(4));
  for (const size of [0, 3, 5, CHUNK_BYTES, CHUNK_BYTES + 4]) {
    await assert.rejects(Array.fromAsync(openPart(key, place, size, sealed)), Undecryptable);
  }
});

test("a source that is not read to its end is let go", async () => {
  const keys = SpaceKeys.personal(new Uint8Array(32), SPACE);
  const key = await keys.unwrap(await keys.newDek(1));
  const place = { space: SPACE, content: SPACE, part: SPACE };
  let open = 0;
  async function* endless() {
    open++;
    try {
      for (;;) yield new Uint8Array(1024);
    } finally {
      open--;
    }
  }
  for await (const piece of sealPart(key, new Uint8Array(7), place, 3 * CHUNK_BYTES, endless())) {
    if (piece.length > 8) break;
  }
  await assert.rejects(Array.fromAsync(sealPart(key, new Uint8Array(7), place, 1, endless())), RangeError);
  await assert.rejects(Array.fromAsync(openPart(key, place, 1, endless())), Undecryptable);
  assert.equal(open, 0);
});

test("JSON with many quotes that are never closed is refused without reading on from each", () => {
  const open = utf8(`{"a":"${'\\"'.repeat(100_000)}`);
  const started = process.cpuUsage();
  assert.throws(() => readJsonObject(open));
  const { user } = process.cpuUsage(started);
  assert.ok(user < 1_000_000, "the square of the length would take minutes");
});

test("JSON is read in one way: names once, numbers as written, no prototype", () => {
  const read = (text) => readJsonObject(utf8(text));
  const more = '"__proto__":"x","d":"\\u007b{\\"","e":18446744073709551615';
  const found = read(`{"a":1,"b":{"a":2,"a ":3},"c":["a","a"],${more}}`);
  assert.deepEqual(Object.keys(found.members), ["a", "b", "c", "__proto__", "d", "e"]);
  assert.equal(found.members["__proto__"], "x");
  assert.deepEqual([integerMember(found, "a"), integerMember(found, "e")], [1n, 2n ** 64n - 1n]);
  assert.equal(integerMember(found, "f"), undefined);
  assert.throws(() => integerMember(found, "d"));
  for (const text of [
    '{"a":1,"a":2}', '{"b":{"a":1,"\\u0061":2}}', '[{"a":1}]', '"a"', "", "{", '{"a":1}}',
    '\ufeff{}', '{"a":01}',
    `{"a":${"[".repeat(128)}${"]".repeat(128)}}`, '{1:2}', '{"a":NaN}', '{"a" "b"}', ':', '{"a"::1}',
  ]) assert.throws(() => read(text), text);
  read(`{"a":${"[".repeat(127)}${"]".repeat(127)}}`);
});

test("what is delegated never outlives its proof, and says whose space it is about", async () => {
  const [root, device] = [await DeviceKey.generate(), await DeviceKey.generate()];
  const grant = { space: SPACE, to: device.did, permission: /** @type {const} */ ("admin"), expiresAt: 2000 };
  const creator = await issueRoot(root, grant);
  const later = await delegate(creator, device, { to: root.did, permission: "read", expiresAt: 3000 });
  const sooner = await delegate(creator, device, { to: root.did, permission: "read", expiresAt: 1000 });
  assert.deepEqual([(await parseUcan(later)).expiresAt, (await parseUcan(sooner)).expiresAt], [2000, 1000]);
  const { links, leaf, cids } = await parseChain(later);
  assert.deepEqual([links.length, leaf.resource, cids.length], [2, `space:${SPACE}`, 4]);
  assert.ok(covers("write", "read") && covers("admin", "admin") && !covers("read", "write"));
});

test("a chain is read as far as one link more than it may have", async () => {
  const device = await DeviceKey.generate();
  const grant = { space: SPACE, to: device.did, permission: /** @type {const} */ ("admin"), expiresAt: 2000 };
  let token = await issueRoot(device, grant);
  for (let links = 1; links < 10; links++) token = await delegate(token, device, grant);
  const { links, cids } = await parseChain(token);
  assert.deepEqual([links.length, cids.length], [9, 16]);
});

test("a token of more than 65,536 characters is refused, whatever it says", async () => {
  const device = await DeviceKey.generate();
  const signed = (/** @type {number} */ length) => {
    const claims = { iss: device.did, aud: [device.did], nonce: "x".repeat(length) };
    return signCompact(device, { alg: "ES256", typ: "JWT" }, utf8(JSON.stringify(claims)));
  };
  assert.equal((await parseUcan(await signed(48_000))).issuer, device.did);
  await assert.rejects(parseUcan(await signed(49_000)), { code: "invalid_ucan" });
});

test("a proof ends with its token, or in a day where that does not say when", async () => {
  const device = await DeviceKey.generate();
  const endOf = async (/** @type {string} */ payload, /** @type {number} */ ...exp) => {
    const proof = await didProof(device, `x.${b64url(utf8(payload))}.y`, ...exp);
    return JSON.parse(atob(proof.split(".")[1] ?? "")).exp;
  };
  assert.deepEqual([await endOf('{"exp":1000}'), await endOf('{"exp":1000}', 5)], [1000, 5]);
  for (const silent of ["{}", '{"exp":"1000"}', '{"exp":1.5}', "null", "no JSON"]) {
    assert.ok(Math.abs((await endOf(silent)) - 86_400 - Date.now() / 1000) < 60, silent);
  }
});

test("what is kept to save time is bounded, and forgets what was longest not asked for", () => {
  const kept = new Bounded(2);
  kept.set("a", 1);
  kept.set("b", 2);
  assert.equal(kept.get("a"), 1);
  assert.equal(kept.set("c", 3), 3);
  assert.deepEqual([kept.size, kept.get("a"), kept.get("b"), kept.get("c")], [2, 1, undefined, 3]);
});
