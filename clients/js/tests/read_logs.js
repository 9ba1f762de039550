/**
 * Reads membership logs for a test in Python that compares what both clients make of them: a log as JSON in
 * each line of the input, what was read of it in each line of the output.
 */
import { createInterface } from "node:readline";
import { b64, fromB64, hex } from "../src/bytes.js";
import { LessSyncError } from "../src/errors.js";
import { DeviceKey } from "../src/keys.js";
import { Reader } from "../src/sharing/log.js";

/** @param {Iterable<string>} texts */
const sorted = (texts) => [...texts].sort();

/** @param {Iterable<[any, any]>} pairs @param {(value: any) => unknown} told */
const mapped = (pairs, told) => Object.fromEntries([...pairs].map(([key, value]) => [key, told(value)]));

/** @param {any} given */
async function told(given) {
  const device = await DeviceKey.fromJwk(given.jwk);
  const rows = given.rows.map(([seq, prev, hash, payload]) => {
    return { chain_seq: seq, prev_hash: fromB64(prev), entry_hash: fromB64(hash), payload: fromB64(payload) };
  });
  const reader = await Reader.of(given.state, device);
  const log = await reader.read(rows, given.version);
  const spent = {};
  for (const [epoch, entry] of log.epochs) spent[epoch] = await log.isSpent(entry, given.now);
  return {
    version: log.version,
    last_hash: hex(log.lastHash),
    place: [log.place.entries, hex(log.place.digest)],
    members: [...log.members.values()].map((member) => [
      member.did, member.permission, String(member.expiresAt),
      member.tokens.map((token) => [token.cid, token.permission, sorted(token.chain)]),
    ]),
    gone: sorted(log.gone),
    revoked: sorted(log.revoked),
    shown: mapped(log.shown, sorted),
    epochs: mapped(log.epochs, ({ v, author, check, keys }) => [v, author, check, mapped(keys, String)]),
    spent,
    keys: mapped(log.keys, b64),
    begun: log.begun,
    passed_over: log.passedOver,
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  const result = await told(JSON.parse(line)).catch((error) => {
    if (error instanceof LessSyncError) return { refused: error.code };
    throw error;
  });
  process.stdout.write(`${JSON.stringify(result)}\n`);
}
