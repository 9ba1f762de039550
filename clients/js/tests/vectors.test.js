/** What people hand to each other in tests/vectors/crypto.json, read by the code that does so in the client. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { fromB64, fromHex, hex, sha256 } from "../src/bytes.js";
import { openBundle } from "../src/sharing/bundle.js";
import { keyCheck, nextDigest, openedKey, openEntry } from "../src/sharing/entries.js";
import { openSigned } from "../src/sharing/sealing.js";
import * as vectors from "./crypto_vectors.js";

const { inputs, refused, python, javascript } = vectors.vectors();
const people = await vectors.peopleOf(inputs);
const space = inputs.shared.space;
const HALVES = Object.entries({ python, javascript });

/** @param {number} epoch */
function keyOf(epoch) {
  const key = inputs.shared.keys[epoch];
  return key && fromHex(key);
}

for (const [maker, half] of HALVES) {
  test(`a bundle lets in whom it was made for (${maker})`, async () => {
    for (const { to, by, ucan, inner, text } of half.bundles) {
      const found = await openBundle(text, people[to], inputs.now);
      assert.deepEqual([found.space, found.ucan, found.home], [inner.space, ucan, inner.home]);
      assert.deepEqual([found.token.cid, found.token.issuer], [inner.cid, people[by].did]);
      const keys = Object.entries(found.keys).map(([epoch, key]) => [epoch, hex(fromB64(key))]);
      assert.deepEqual(Object.fromEntries(keys), inner.keys);
      assert.deepEqual([found.log.entries, hex(fromB64(found.log.digest))], Object.values(inner.log));
      await assert.rejects(openBundle(text, people.root, inputs.now), { code: "not_for_us" });
      await assert.rejects(openBundle(text, people[to], inputs.expires_at + 1), { code: "bundle_unusable" });
    }
  });

  test(`entries of the log are read, and the key in them by its members (${maker})`, async () => {
    let digest = new Uint8Array();
    for (const { payload, says, digest: expected } of half.log) {
      const bytes = fromHex(payload);
      const { keys, ...entry } = await openEntry(bytes, space, keyOf);
      for (const [name, value] of Object.entries(entry)) {
        assert.deepEqual(value, says[name] ?? { cids: [], epoch: 0 }[name] ?? "", name);
      }
      assert.deepEqual(Object.fromEntries(keys), says.keys ?? {});
      digest = await nextDigest(digest, await sha256(bytes));
      assert.equal(hex(digest), expected);
      if (keys.size === 0) continue;
      for (const name of ["alice", "bob"]) {
        assert.equal(hex(await openedKey({ ...entry, keys }, people[name])), inputs.shared.keys[entry.epoch]);
      }
      assert.equal(await openedKey({ ...entry, keys }, people.root), null);
      assert.equal(await keyCheck(keyOf(entry.epoch)), half.key_checks[entry.epoch]);
    }
  });

  test(`what somebody shows is theirs (${maker})`, async () => {
    const { data, says, by } = half.presence;
    const how = { typ: "less-sync-presence", info: vectors.PRESENCE_INFO, space, keyOf };
    const payload = await openSigned(fromHex(data), { ...how, authorOf: () => people[by].did });
    assert.deepEqual(JSON.parse(new TextDecoder().decode(payload)), says);
    assert.equal(await openSigned(fromHex(data), { ...how, authorOf: () => people.root.did }), null);
  });
}

test("of entries that are written otherwise the right one alone is read", async () => {
  const read = [];
  for (const { name, payload } of refused.entries) {
    if (await openEntry(fromHex(payload), space, keyOf)) read.push(name);
  }
  assert.deepEqual(read, ["right"]);
});
