/**
 * The half `javascript` of tests/vectors/crypto.json, made from its `inputs` (docs/encryption.md 12).
 *
 *     node clients/js/tests/crypto_vectors.js
 *
 * writes it anew, with random keys, IVs and signatures: what is in the file was made once and is read since.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { b64, concat, fromHex, hex, randomBytes, sha256, u32be, utf8 } from "../src/bytes.js";
import { encode } from "../src/cbor.js";
import { decodeDid } from "../src/did.js";
import { sealFor, signJws } from "../src/jose.js";
import { DeviceKey } from "../src/keys.js";
import { keyFingerprint, keyText } from "../src/key_text.js";
import { sealPart } from "../src/parts.js";
import { encodeContent, encodeFile } from "../src/plaintext.js";
import { didProof } from "../src/proof.js";
import { SpaceKeys } from "../src/space_keys.js";
import { delegate, issueRoot, parseUcan } from "../src/ucan.js";
import { gcmOpen, gcmSeal, hkdf } from "../src/webcrypto.js";

export const PATH = new URL("../../../tests/vectors/crypto.json", import.meta.url);
export const MEMBER_INFO = "less-sync/space/v1/log";
export const PRESENCE_INFO = "less-sync/space/v1/presence";
const LIFETIME_S = 1000;

/** The file. @returns {any} */
export function vectors() {
  return JSON.parse(readFileSync(PATH, "utf8"));
}

/**
 * The people of the vectors.
 *
 * @param {any} inputs
 * @returns {Promise<Record<string, DeviceKey>>}
 */
export async function peopleOf(inputs) {
  const people = {};
  for (const [name, { jwk }] of Object.entries(inputs.people)) people[name] = await DeviceKey.fromJwk(jwk);
  return people;
}

/**
 * The keys of both spaces.
 *
 * @param {any} inputs
 * @returns {Record<string, SpaceKeys>}
 */
export function spacesOf({ personal, shared }) {
  const keys = new Map(Object.entries(shared.keys).map(([epoch, key]) => [Number(epoch), fromHex(key)]));
  return {
    personal: SpaceKeys.personal(fromHex(personal.secret), personal.space),
    shared: SpaceKeys.shared(keys, shared.space),
  };
}

/**
 * The bytes of a plaintext, by what it says.
 *
 * @param {any} says
 * @returns {Uint8Array}
 */
export function plainOf(says) {
  const { kind, version, path, size } = says;
  const mtimeNs = BigInt(says.mtime_ns ?? 0);
  if (says.v === 1) return encode({ v: 1, path, mtime_ns: mtimeNs, content: fromHex(says.content) });
  const digest = fromHex(says.digest ?? "");
  const { part_bytes: partBytes, parts } = says;
  if (kind === "content") return encodeContent({ size, digest, partBytes, parts });
  const head = { version, path, mtimeNs };
  if (kind === "large") return encodeFile({ ...head, kind, size, digest, content: says.content });
  return encodeFile({ ...head, kind, content: fromHex(says.content) });
}

/** What members write for members, sealed (docs/encryption.md 8.1). */
export async function sealMembers(key, info, space, epoch, text) {
  const iv = randomBytes(12);
  const sealed = await gcmSeal(await membersKey(key, info), iv, utf8(text), utf8(space));
  return concat(Uint8Array.of(1), u32be(epoch), iv, sealed);
}

/** The same, opened. */
export async function openMembers(key, info, space, data) {
  const body = await gcmOpen(await membersKey(key, info), data.slice(5, 17), data.slice(17), utf8(space));
  return new TextDecoder().decode(body);
}

function membersKey(key, info) {
  return hkdf(key, utf8(info), { name: "AES-GCM", length: 256 }, ["encrypt", "decrypt"]);
}

/** The digest of a log with one more entry. */
export async function nextDigest(digest, payload) {
  return sha256(concat(digest, await sha256(payload)));
}

/** What an epoch's key is compared by. */
export async function keyCheck(key) {
  return hex(await sha256(concat(utf8("less-sync/space/v1/key\0"), key)));
}

/**
 * All that JavaScript makes of the inputs.
 *
 * @param {any} inputs
 */
export async function half(inputs) {
  const people = await peopleOf(inputs);
  const spaces = spacesOf(inputs);
  const secret = fromHex(inputs.personal.secret);
  const ucans = await makeUcans(inputs, people);
  return {
    key_text: { text: await keyText(secret), fingerprint: await keyFingerprint(secret) },
    record_ids: await recordIds(inputs, spaces),
    records: await makeRecords(inputs, spaces),
    parts: await makeParts(inputs, spaces.personal),
    jws: await makeJws(people.alice),
    jwe: await Promise.all(["", "less-sync"].map((text) => makeJwe(people.bob.did, utf8(text)))),
    ucans,
    chains: chains(inputs, people, ucans),
    bundles: [await makeBundle(inputs, people, ucans)],
    log: await makeLog(inputs, people, ucans),
    presence: await makePresence(inputs, people.bob),
    did_proof: await makeProof(inputs, people.alice),
    key_checks: await keyChecks(inputs.shared.keys),
  };
}

async function keyChecks(keys) {
  const found = {};
  for (const [epoch, key] of Object.entries(keys)) found[epoch] = await keyCheck(fromHex(key));
  return found;
}

async function recordIds({ paths }, spaces) {
  const found = {};
  for (const [name, keys] of Object.entries(spaces)) {
    found[name] = {};
    for (const path of paths) found[name][path] = await keys.recordId(path);
  }
  return found;
}

async function makeRecords({ plaintexts, content }, spaces) {
  const made = [];
  for (const [space, keys] of Object.entries(spaces)) {
    for (const [name, { says }] of Object.entries(plaintexts)) {
      for (const epoch of [1, 2]) {
        const id = says.kind === "content" ? content : await keys.recordId(says.path);
        const { blob, dek } = await keys.seal(id, plainOf(says), epoch);
        made.push({ space, name, id, epoch, blob: hex(blob), dek: hex(dek) });
      }
    }
  }
  return made;
}

async function makeParts({ content, parts, personal }, keys) {
  const made = [];
  for (const plain of [utf8(""), utf8("less-sync"), new Uint8Array(2 ** 20 + 1)]) {
    const part = parts[plain.length > 9 ? 1 : 0];
    const dek = await keys.newDek(1);
    const nonce = randomBytes(7);
    const place = { space: personal.space, content, part };
    const sealed = await whole(sealPart(await keys.unwrap(dek), nonce, place, plain.length, [plain]));
    // Of two chunks the hash alone is kept: sealing the same again gives the same.
    const shown = plain.length > 9 ? { plain: "zeros" } : { plain: hex(plain), sealed: hex(sealed) };
    const told = { part, dek: hex(dek), nonce: hex(nonce), size: plain.length };
    made.push({ ...told, ...shown, sha256: hex(await sha256(sealed)) });
  }
  return made;
}

/** All pieces in one. */
export async function whole(pieces) {
  const all = [];
  for await (const piece of pieces) all.push(piece);
  return concat(...all);
}

async function makeJws(device) {
  const typ = "less-sync-vector";
  const payloads = [new Uint8Array(), utf8('{"a":1}'), Uint8Array.from({ length: 256 }, (_, at) => at)];
  const made = [];
  for (const payload of payloads) {
    made.push({ by: "alice", typ, payload: hex(payload), text: await signJws(device, typ, payload) });
  }
  return made;
}

async function makeJwe(did, plain) {
  return { to: "bob", plain: hex(plain), text: await sealFor(did, plain) };
}

async function makeUcans({ shared, expires_at: expiresAt }, people) {
  const told = async (by, to, permission, text) => {
    const { cid, twinCid } = await parseUcan(text);
    return { by, to, permission, text, cid, twin_cid: twinCid };
  };
  const root = { space: shared.space, to: people.alice.did, permission: "admin", expiresAt };
  const creator = await issueRoot(people.root, root);
  const toBob = { to: people.bob.did, permission: "write", expiresAt };
  const member = await delegate(creator, people.alice, toBob);
  // The time is lowered to what the proof has.
  const toAlice = { to: people.alice.did, permission: "read", expiresAt: expiresAt + LIFETIME_S };
  const back = await delegate(member, people.bob, toAlice);
  return {
    creator: await told("root", "alice", "admin", creator),
    member: await told("alice", "bob", "write", member),
    back: await told("bob", "alice", "read", back),
  };
}

function chains({ shared, personal, now, expires_at: end }, { root, alice, bob }, ucans) {
  const rootKey = hex(decodeDid(root.did).compressed);
  const asked = { ucan: "member", audience: bob.did, needed: "write", space: shared.space };
  const right = { ...asked, root: rootKey, revoked: [], now };
  const at = (code, link = 0) => ({ code, link });
  const rows = [
    ["the member writes", {}, null],
    ["the creator administers", { ucan: "creator", audience: alice.did, needed: "admin" }, null],
    ["three links", { ucan: "back", audience: alice.did, needed: "read" }, null],
    ["in its last second", { now: end + 0.9 }, null],
    ["somebody else", { audience: alice.did }, at("identity_mismatch")],
    ["more than granted", { needed: "admin" }, at("attenuation_violation")],
    ["another space", { space: personal.space }, at("resource_mismatch")],
    ["after its end", { now: end + 1 }, at("ucan_expired")],
    ["another root", { root: hex(decodeDid(bob.did).compressed) }, at("root_mismatch", 1)],
    ["revoked", { revoked: [ucans.member.cid] }, at("ucan_revoked")],
    ["revoked by its twin", { revoked: [ucans.member.twin_cid] }, at("ucan_revoked")],
    ["its proof is revoked", { revoked: [ucans.creator.cid] }, at("ucan_revoked", 1)],
  ];
  return rows.map(([name, other, refused]) => ({ name, ...right, ...other, refused }));
}

async function makeBundle({ shared }, { alice, bob }, { member }) {
  const home = "sync.example:8443";
  const log = { entries: 2, digest: hex(await sha256(utf8("a log"))) };
  const keys = Object.entries(shared.keys);
  const secret = {
    space: shared.space,
    cid: member.cid,
    keys: Object.fromEntries(keys.map(([epoch, key]) => [epoch, b64(fromHex(key))])),
    log: { entries: 2, digest: b64(fromHex(log.digest)) },
    home,
  };
  const jwe = await sealFor(bob.did, utf8(JSON.stringify(secret)));
  const outer = utf8(JSON.stringify({ ucan: member.text, jwe }));
  const text = `less-sync-invite-1:${await signJws(alice, "less-sync-invite", outer)}`;
  const inner = { space: shared.space, cid: member.cid, keys: shared.keys, log, home };
  return { to: "bob", by: "alice", ucan: member.text, inner, text };
}

async function makeLog({ shared, now }, { alice, bob }, { creator, member }) {
  const secret = utf8(JSON.stringify({ space: shared.space, epoch: 2, key: b64(fromHex(shared.keys[2])) }));
  const keys = {};
  for (const { did } of [alice, bob]) keys[did] = await sealFor(did, secret);
  const common = { v: 2, space: shared.space, author: alice.did, proof: creator.text, at: now };
  let digest = new Uint8Array();
  const made = [];
  for (const more of [
    { kind: "member", ucan: member.text },
    { kind: "epoch", epoch: 2, keys, check: await keyCheck(fromHex(shared.keys[2])) },
    { kind: "removed", epoch: 2, cids: [member.cid] },
  ]) {
    const says = { ...common, ...more, ...(digest.length > 0 ? { after: hex(digest) } : {}) };
    const signed = await signJws(alice, "less-sync-member", utf8(JSON.stringify(says)));
    const payload = await sealMembers(fromHex(shared.keys[1]), MEMBER_INFO, shared.space, 1, signed);
    digest = await nextDigest(digest, payload);
    made.push({ epoch: 1, payload: hex(payload), says, digest: hex(digest) });
  }
  return made;
}

async function makePresence({ shared, now }, bob) {
  const says = { from: bob.did, at: now, text: "at the station" };
  const signed = await signJws(bob, "less-sync-presence", utf8(JSON.stringify(says)));
  const data = await sealMembers(fromHex(shared.keys[2]), PRESENCE_INFO, shared.space, 2, signed);
  return { by: "bob", says, epoch: 2, data: hex(data) };
}

async function makeProof({ token, expires_at: exp }, alice) {
  return { by: "alice", token, exp, text: await didProof(alice, token, exp) };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const all = vectors();
  all.javascript = await half(all.inputs);
  writeFileSync(PATH, `${JSON.stringify(all, null, 1)}\n`);
}
