/** Both halves of tests/vectors/crypto.json, and one that is made now, are read by the JavaScript client. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { b64, concat, fromHex, hex, sha256, text, u32be, utf8, uuidText } from "../src/bytes.js";
import { decodeDid, encodeDid } from "../src/did.js";
import { Undecryptable } from "../src/errors.js";
import {
  openSealed, SEALED_BYTES_MAX, sealFor, signCompact, SIGNED_BYTES_MAX, signJws, unverifiedPayload, verifyJws,
} from "../src/jose.js";
import { keyFingerprint, keyText, parseKeyText } from "../src/key_text.js";
import { CHUNK_BYTES, openPart, sealedSize, sealPart } from "../src/parts.js";
import { decodePlain, encodeContent, encodeFile } from "../src/plaintext.js";
import { epochOf } from "../src/space_keys.js";
import { checkChain, parseChain, parseUcan, ucanCid } from "../src/ucan.js";
import * as made from "./crypto_vectors.js";

const { inputs, refused, ...files } = made.vectors();
const people = await made.peopleOf(inputs);
const spaces = made.spacesOf(inputs);
/** @type {[string, any][]} */
const HALVES = [
  ["python", files.python],
  ["javascript", files.javascript],
  ["javascript now", await made.half(inputs)],
];

/**
 * @param {string} name a sentence
 * @param {(half: any) => Promise<void>} body
 */
function eachHalf(name, body) {
  for (const [maker, half] of HALVES) test(`${name} (${maker})`, () => body(half));
}

test("people have the DIDs that Python says", () => {
  for (const [name, { did, jwk }] of Object.entries(inputs.people)) {
    assert.equal(people[name].did, did);
    const { compressed, point } = decodeDid(did);
    assert.equal(encodeDid(compressed), did);
    assert.equal(encodeDid(point), did);
    assert.deepEqual(point, people[name].point);
    assert.deepEqual(Object.keys(jwk).sort(), ["crv", "d", "kty", "x", "y"]);
  }
});

test("keys derive as Python says", async () => {
  const derived = files.derived;
  const folder = "less-sync/folder/v1/";
  const check = async (secret, info, expected) => {
    const key = await crypto.subtle.importKey("raw", fromHex(secret), "HKDF", false, ["deriveBits"]);
    const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: utf8(info) };
    assert.equal(hex(new Uint8Array(await crypto.subtle.deriveBits(how, key, 256))), expected, info);
  };
  const { personal, shared } = inputs;
  await check(personal.secret, `${folder}record-id`, derived.record_id.personal);
  await check(shared.keys[1], `${folder}record-id`, derived.record_id.shared);
  for (const epoch of [1, 2]) {
    const info = `${folder}kek\0\0\0\0${String.fromCharCode(epoch)}`;
    await check(personal.secret, info, derived.kek.personal[epoch]);
    await check(shared.keys[epoch], info, derived.kek.shared[epoch]);
    await check(shared.keys[epoch], made.MEMBER_INFO, derived.log[epoch]);
    await check(shared.keys[epoch], made.PRESENCE_INFO, derived.presence[epoch]);
  }
});

eachHalf("a key text is read and written", async ({ key_text: { text: line, fingerprint } }) => {
  const secret = fromHex(inputs.personal.secret);
  assert.deepEqual(await parseKeyText(` ${line}\n`), secret);
  assert.equal(await keyText(secret), line);
  assert.equal(await keyFingerprint(secret), fingerprint);
});

eachHalf("paths have the same record ids", async ({ record_ids: ids }) => {
  for (const [space, byPath] of Object.entries(ids)) {
    assert.equal(Object.keys(byPath).length, inputs.paths.length);
    for (const [path, id] of Object.entries(byPath)) assert.equal(await spaces[space].recordId(path), id);
  }
});

eachHalf("records of every kind open, and their plaintexts are written alike", async ({ records }) => {
  assert.equal(records.length, 2 * 2 * Object.keys(inputs.plaintexts).length);
  for (const { space, name, id, epoch, blob, dek } of records) {
    const plain = await spaces[space].open(id, { blob: fromHex(blob), dek: fromHex(dek) });
    const { says, plain: expected } = inputs.plaintexts[name];
    assert.equal(hex(plain), expected);
    assert.equal(epochOf(fromHex(dek)), epoch);
    assert.equal(hex(made.plainOf(says)), expected);
    const found = decodePlain(plain);
    if (found.kind === "content") assert.equal(hex(encodeContent(found)), expected);
    else if (found.version > 0) assert.equal(hex(encodeFile(found)), expected);
    else assert.deepEqual([found.kind, found.path], ["file", says.path]);
  }
});

eachHalf("a rewrapped key opens the same record", async ({ records }) => {
  for (const { space, id, blob, dek } of records.slice(0, 2)) {
    const rewrapped = await spaces[space].rewrap(fromHex(dek), 2);
    assert.equal(epochOf(rewrapped), 2);
    await spaces[space].open(id, { blob: fromHex(blob), dek: rewrapped });
  }
});

eachHalf("parts open in any pieces, and seal to the same bytes", async ({ parts }) => {
  for (const { part, dek, nonce, size, plain, sealed, sha256: digest } of parts) {
    const key = await spaces.personal.unwrap(fromHex(dek));
    const place = { space: inputs.personal.space, content: inputs.content, part };
    const content = plain === "zeros" ? new Uint8Array(size) : fromHex(plain);
    const again = await made.whole(sealPart(key, fromHex(nonce), place, size, pieces(content, 65_536)));
    assert.equal(again.length, sealedSize(size));
    assert.equal(hex(await sha256(again)), digest);
    if (sealed !== undefined) assert.equal(hex(again), sealed);
    for (const step of size > CHUNK_BYTES ? [99_991, again.length] : [1, 7, 64]) {
      assert.deepEqual(await made.whole(openPart(key, place, size, pieces(again, step))), content);
    }
  }
});

/** @param {Uint8Array} bytes @param {number} step */
function* pieces(bytes, step) {
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
}

eachHalf("signed and sealed texts open for whom they are", async ({ jws, jwe }) => {
  for (const { by, typ, payload, text: line } of jws) {
    assert.equal(hex(await verifyJws(line, people[by].did, typ)), payload);
    assert.equal(hex(unverifiedPayload(line)), payload);
    assert.equal(await verifyJws(line, people.root.did, typ), null);
    assert.equal(await verifyJws(line, people[by].did, "another"), null);
  }
  for (const { to, plain, text: line } of jwe) {
    assert.equal(hex(await openSealed(line, people[to])), plain);
    assert.equal(await openSealed(line, people.root), null);
  }
});

eachHalf("tokens have their CIDs, and chains the verdicts of the servers", async ({ ucans, chains }) => {
  for (const { by, to, permission, text: token, cid, twin_cid: twin } of Object.values(ucans)) {
    const ucan = await parseUcan(token);
    assert.deepEqual([ucan.cid, ucan.twinCid, await ucanCid(token)], [cid, twin, cid]);
    assert.deepEqual([ucan.issuer, ucan.audience], [people[by].did, people[to].did]);
    assert.deepEqual([ucan.permission, ucan.expiresAt], [permission, inputs.expires_at]);
  }
  for (const { name, ucan, root, revoked, now, refused: verdict, ...asked } of chains) {
    const chain = await parseChain(ucans[ucan].text);
    const question = { ...asked, rootKey: fromHex(root), revoked: new Set(revoked), nowS: now };
    const check = () => checkChain(chain, question);
    if (verdict === null) check();
    else assert.throws(check, { name: "UcanRefused", code: verdict.code, depth: verdict.link }, name);
  }
});

eachHalf("a bundle opens for whom it was made", async ({ bundles }) => {
  for (const { to, by, ucan, inner, text: line } of bundles) {
    const signed = line.replace("less-sync-invite-1:", "");
    const outer = json(await verifyJws(signed, people[by].did, "less-sync-invite"));
    assert.equal(outer.ucan, ucan);
    const found = json(await openSealed(outer.jwe, people[to]));
    assert.deepEqual([found.space, found.cid, found.home], [inner.space, inner.cid, inner.home]);
    assert.equal(found.log.digest, b64(fromHex(inner.log.digest)));
    for (const [epoch, key] of Object.entries(inner.keys)) assert.equal(found.keys[epoch], b64(fromHex(key)));
  }
});

/** @param {Uint8Array | null} bytes */
function json(bytes) {
  return JSON.parse(text(/** @type {Uint8Array} */ (bytes)));
}

eachHalf("the membership log opens, each entry on top of others", async ({ log, key_checks: checks }) => {
  let digest = new Uint8Array();
  for (const { epoch, payload, says, digest: expected } of log) {
    const key = fromHex(inputs.shared.keys[epoch]);
    const bytes = fromHex(payload);
    const signed = await made.openMembers(key, made.MEMBER_INFO, inputs.shared.space, bytes);
    assert.deepEqual(json(await verifyJws(signed, says.author, "less-sync-member")), says);
    assert.equal(says.after ?? "", hex(digest));
    digest = await made.nextDigest(digest, bytes);
    assert.equal(hex(digest), expected);
    for (const [did, jwe] of Object.entries(says.keys ?? {})) {
      const device = Object.values(people).find((one) => one.did === did);
      const { key: found } = json(await openSealed(jwe, device));
      assert.equal(found, b64(fromHex(inputs.shared.keys[says.epoch])));
      assert.equal(await made.keyCheck(fromHex(inputs.shared.keys[says.epoch])), says.check);
    }
  }
  assert.equal(await made.keyCheck(fromHex(inputs.shared.keys[1])), checks[1]);
});

eachHalf("what somebody shows opens, and a DID is proven", async ({ presence, did_proof: proof }) => {
  const key = fromHex(inputs.shared.keys[presence.epoch]);
  const data = fromHex(presence.data);
  const signed = await made.openMembers(key, made.PRESENCE_INFO, inputs.shared.space, data);
  const { did } = people[presence.by];
  assert.deepEqual(json(await verifyJws(signed, did, "less-sync-presence")), presence.says);
  const claims = json(await verifyJws(proof.text, people[proof.by].did, "less-sync-did-proof"));
  const ath = b64(await sha256(utf8(proof.token))).replaceAll("+", "-").replaceAll("/", "_").replace("=", "");
  assert.deepEqual(claims, { iss: people[proof.by].did, ath, exp: proof.exp });
});

test("what is too large for all to read is refused by who makes and who reads it", async () => {
  const typ = "less-sync-vector";
  const { alice, bob } = people;
  assert.ok(await verifyJws(await signJws(alice, typ, new Uint8Array(SIGNED_BYTES_MAX)), alice.did, typ));
  const tooLarge = { name: "Refused", code: "too_large" };
  await assert.rejects(signJws(alice, typ, new Uint8Array(SIGNED_BYTES_MAX + 1)), tooLarge);
  const signed = await signCompact(alice, { alg: "ES256", typ }, new Uint8Array(SIGNED_BYTES_MAX + 1));
  assert.equal(await verifyJws(signed, alice.did, typ), null);
  assert.ok(await openSealed(await sealFor(bob.did, new Uint8Array(SEALED_BYTES_MAX)), bob));
  await assert.rejects(sealFor(bob.did, new Uint8Array(SEALED_BYTES_MAX + 1)), tooLarge);
});

test("damaged key texts and foreign DIDs are refused", async () => {
  for (const line of refused.key_texts) await assert.rejects(parseKeyText(line), { name: "LessSyncError" });
  for (const { did } of refused.dids) assert.throws(() => decodeDid(did), { name: "Refused", code: "bad_did" }, did);
});

test("authentic plaintexts of another format are told apart from those of another kind", () => {
  for (const { plain, code } of refused.plaintexts) {
    assert.throws(() => decodePlain(fromHex(plain)), { code }, plain);
  }
});

test("a content of as many parts as fit into a record is read", () => {
  const partBytes = 1024 * 1024;
  const parts = Array.from({ length: 150_000 }, (_, at) => uuidText(concat(new Uint8Array(12), u32be(at))));
  const content = { size: parts.length * partBytes, digest: new Uint8Array(32), partBytes, parts };
  assert.equal(decodePlain(encodeContent(content)).parts.length, parts.length);
});

test("records and parts that were altered, moved or cut do not open", async () => {
  for (const { name, id, blob, dek } of refused.records) {
    const sealed = { blob: fromHex(blob), dek: fromHex(dek) };
    await assert.rejects(spaces.personal.open(id, sealed), Undecryptable, name);
  }
  for (const { name, part, size, dek, sealed } of refused.parts) {
    const key = await spaces.personal.unwrap(fromHex(dek));
    const place = { space: inputs.personal.space, content: inputs.content, part };
    await assert.rejects(made.whole(openPart(key, place, size, [fromHex(sealed)])), Undecryptable, name);
  }
});

test("texts that are no JWS, JWE or UCAN of ours are none", async () => {
  for (const { by, typ, text: line } of refused.jws) {
    assert.equal(await verifyJws(line, people[by].did, typ), null, line);
  }
  for (const { to, text: line } of refused.jwe) assert.equal(await openSealed(line, people[to]), null, line);
  for (const { name, text: token } of refused.ucans) {
    await assert.rejects(parseUcan(token), { name: "UcanRefused", code: "invalid_ucan" }, name);
  }
});
