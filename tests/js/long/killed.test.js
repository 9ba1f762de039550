import assert from "node:assert/strict";
import { test } from "node:test";
import { hex, randomBytes, randomUuid } from "../../../clients/js/src/bytes.js";
import { ServerUnavailable } from "../../../clients/js/src/errors.js";
import { made, pulled } from "../../../clients/js/tests/made_client.js";

const server = process.env.LESS_SYNC_SERVER ?? "";
const { token, space } = JSON.parse(process.env.LESS_SYNC_TOKEN ?? "{}");
const SECONDS = Number(process.env.LESS_SYNC_SECONDS);
const limits = { backoffFirstMs: 50, backoffMaxMs: 400 };

/** @typedef {import("../../../clients/js/src/sync_client.js").SyncClient} SyncClient */

/**
 * Ask until there is an answer.
 *
 * @template T
 * @param {() => Promise<T>} ask
 */
async function answered(ask) {
  for (let lost = 0; ; lost++) {
    try {
      return { value: await ask(), lost };
    } catch (error) {
      if (!(error instanceof ServerUnavailable) || lost > 100) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/**
 * Push records one after another until the time is over.
 *
 * @param {SyncClient} client
 * @param {number} end
 */
async function write(client, end) {
  /** @type {Map<string, string>} */
  const written = new Map();
  while (performance.now() < end) {
    const changes = Array.from({ length: 3 }, () => ({
      id: randomUuid(),
      blob: randomBytes(2000),
      expected_cursor: 0,
    }));
    const { value, lost } = await answered(async () => {
      const result = await client.push(space, changes);
      if (result.error === "internal") throw new ServerUnavailable("internal", "its database was away");
      return result;
    });
    // An answer that was lost may have been that of a push which was written: then it is a conflict.
    assert.ok(value.ok || (lost > 0 && value.error === "conflict"), JSON.stringify(value));
    for (const { id, blob } of changes) written.set(id, hex(blob));
  }
  return written;
}

/**
 * Store files one after another until the time is over.
 *
 * @param {SyncClient} client
 * @param {string} record
 * @param {number} end
 */
async function upload(client, record, end) {
  const files = new Map();
  while (performance.now() < end) {
    const [file, body, dek] = [randomUuid(), randomBytes(60_000), randomBytes(44)];
    dek.set([0, 0, 0, 1]);
    await answered(() => client.files.put(space, file, { record, dek, body }));
    files.set(file, { dek, body });
  }
  return files;
}

test("what was acknowledged is there, once, though the server is killed again and again", async (t) => {
  const writers = Array.from({ length: 3 }, () => made(t, { server, token, limits }));
  const reader = made(t, { server, token, limits });
  await Promise.all([...writers, reader].map(({ client }) => client.open()));
  await reader.client.subscribe([{ id: space }]);
  const record = randomUuid();
  const bound = { id: record, blob: randomBytes(1), expected_cursor: 0 };
  await answered(() => reader.client.push(space, [bound]));
  const end = performance.now() + SECONDS * 1000;
  /** What the reader has seen, by pulls that go on where they broke. @type {Map<string, string>} */
  const seen = new Map();
  let cursor = 0;
  let repeated = 0;
  const read = async () => {
    for await (const event of reader.client.pull(space, cursor)) {
      if (event.kind === "record") {
        if (seen.has(event.id)) repeated += 1;
        seen.set(event.id, hex(event.blob ?? new Uint8Array()));
      }
      if (event.kind === "commit") cursor = event.cursor;
    }
  };
  const reading = async () => {
    while (performance.now() < end) await answered(read);
  };
  const writing = Promise.all(writers.map(({ client }) => write(client, end)));
  const uploading = upload(reader.client, record, end);
  const [results, files] = await Promise.all([writing, uploading, reading()]);
  await answered(read);
  const expected = new Map([[record, hex(bound.blob)], ...results.flatMap((written) => [...written])]);
  const { value: all } = await answered(() => pulled(reader.client, space, 0));
  const records = all.filter((event) => event.kind === "record");
  assert.equal(records.length, expected.size);
  const stored = records.map(({ id, blob }) => /** @type {const} */ ([id, hex(blob ?? new Uint8Array())]));
  assert.deepEqual(new Map(stored), expected);
  assert.deepEqual(seen, expected);
  for (const [file, content] of files) {
    const { value } = await answered(() => reader.client.files.get(space, file));
    assert.deepEqual(value, content);
  }
  const losses = reader.states.filter((state) => state === "connecting").length - 1;
  const resyncs = reader.notices.filter(({ method }) => method === "resync").length;
  assert.ok(losses >= 3, `${losses} losses`);
  assert.equal(resyncs, losses);
  assert.equal(repeated, 0, "no pull repeats an entry");
});
