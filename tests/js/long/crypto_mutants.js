/** Reads mutated texts from standard input and says what the JavaScript client makes of each. */

import { text } from "node:stream/consumers";
import { fromHex, hex } from "../../../clients/js/src/bytes.js";
import { decodeDid } from "../../../clients/js/src/did.js";
import { openSealed, verifyJws } from "../../../clients/js/src/jose.js";
import { DeviceKey } from "../../../clients/js/src/keys.js";
import { decodePlain } from "../../../clients/js/src/plaintext.js";
import { parseUcan } from "../../../clients/js/src/ucan.js";

const asked = JSON.parse(await text(process.stdin));
const device = await DeviceKey.fromJwk(asked.jwk);

/** What a reader finds, or the code of what it refuses with; any other error ends the run. */
async function answer(read) {
  try {
    return await read();
  } catch (error) {
    if (typeof error.code !== "string" || error.code.startsWith("ERR_")) throw error;
    return error.code;
  }
}

async function ucan(token) {
  const found = await parseUcan(token);
  const { cid, twinCid, issuer, audience = null, command, resource, nonce, exp, nbf, proofs } = found;
  const times = [exp, nbf].map((time) => (time === undefined ? null : String(time)));
  return [cid, twinCid, issuer, audience, command, resource, nonce, ...times, ...proofs];
}

const readers = {
  ucans: ucan,
  dids: (did) => hex(decodeDid(did).compressed),
  jws: async (line) => (await verifyJws(line, device.did, "less-sync-vector")) !== null,
  jwe: async (line) => (await openSealed(line, device)) !== null,
  plaintexts: (digits) => decodePlain(fromHex(digits)).kind,
};

const answers = {};
for (const [name, read] of Object.entries(readers)) {
  answers[name] = [];
  for (const one of asked[name]) answers[name].push(await answer(() => read(one)));
}
process.stdout.write(JSON.stringify(answers));
