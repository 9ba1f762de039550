import assert from "node:assert/strict";
import { test } from "node:test";
import { hex, randomBytes, randomUuid } from "../../../clients/js/src/bytes.js";
import { decode } from "../../../clients/js/src/cbor.js";
import { ConnectionLost, NotThisProtocol } from "../../../clients/js/src/errors.js";
import { made, pulled, until } from "../../../clients/js/tests/made_client.js";
import { account, cut, server } from "../../../clients/js/tests/server.js";
import { frameProxy } from "./frame_proxy.js";

/** @typedef {import("../../../clients/js/src/sync_client.js").Notice} Notice */

/** A number below 1, the same in every run. @param {number} seed */
function generator(seed) {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A copy of a space, kept by the rule for announcements (docs/protocol.md 9.1). */
class Replica {
  cursor = 0;
  pulls = 0;
  /** @type {unknown[]} */
  faults = [];
  /** @type {Map<string, string>} */
  records = new Map();
  /** @type {Notice[]} */
  #waiting = [];
  #working = false;

  /** @param {import("../../../clients/js/src/sync_client.js").SyncClient} client @param {string} space */
  constructor(client, space) {
    this.client = client;
    this.space = space;
    client.on("notice", (notice) => void this.#hear(notice).catch((error) => this.faults.push(error)));
  }

  /** @param {Notice} notice */
  async #hear(notice) {
    this.#waiting.push(notice);
    if (this.#working) return;
    this.#working = true;
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await this.#follow(next);
    }
    this.#working = false;
  }

  /** @param {Notice} notice */
  async #follow(notice) {
    if (notice.method === "sync") {
      if (notice.cursor <= this.cursor) return;
      if (notice.prev !== this.cursor || notice.records.length === 0) return this.pull();
      for (const record of notice.records) this.#take(record);
      this.cursor = notice.cursor;
    } else if (notice.method === "resync") await this.pull();
  }

  async pull() {
    for (;;) {
      this.pulls += 1;
      try {
        // Only whole pulls are taken: if one from 0 was taken in part, the next would not tell of deletions.
        const events = await pulled(this.client, this.space, this.cursor);
        for (const event of events) if (event.kind === "record") this.#take(event);
        for (const event of events) if (event.kind === "commit") this.cursor = event.cursor;
        return;
      } catch (error) {
        // What does not add up is asked for again (docs/protocol.md 13.3).
        if (!(error instanceof NotThisProtocol || error instanceof ConnectionLost)) throw error;
      }
    }
  }

  /** @param {import("../../../clients/js/src/shapes.js").SyncRecord} record */
  #take({ id, blob }) {
    if (blob === undefined) this.records.delete(id);
    else this.records.set(id, hex(blob));
  }
}

for (const seed of [1, 2, 3, 4]) {
  test(`a replica converges though messages come twice, late or out of order (seed ${seed})`, async (t) => {
    const { token, space } = await account(`reordered-${seed}`);
    const random = generator(seed);
    let calm = false;
    let odd = 0;
    /** What was held back, with the way to send it. @type {(() => void)[]} */
    let held = [];
    const proxy = await frameProxy(t, server, (frame, send) => {
      const disturbed = !calm && canBeDisturbed(frame) ? random() : 1;
      if (disturbed < 0.6) odd += 1;
      if (disturbed < 0.2) send(frame);
      if (disturbed < 0.4 && disturbed >= 0.2) held.push(() => send(frame));
      else if (disturbed < 0.6 && disturbed >= 0.4) {
        const before = held;
        held = [];
        send(frame);
        for (const one of before) one();
      } else send(frame);
    });
    const { client } = made(t, { server: proxy.server, token, limits: { backoffFirstMs: 20 } });
    const writer = made(t, { server, token, limits: { backoffFirstMs: 20 } });
    await Promise.all([client.open(), writer.client.open()]);
    const replica = new Replica(client, space);
    await client.subscribe([{ id: space }]);
    /** @type {{id: string, cursor: number}[]} */
    const written = [];
    for (let count = 0; count < 300; count++) {
      if (count % 100 === 50) await cut();
      const old = random() < 0.4 ? written.splice(Math.floor(random() * written.length), 1)[0] : undefined;
      const blob = random() < 0.2 ? undefined : randomBytes(Math.floor(random() * 200));
      const change = { id: old?.id ?? randomUuid(), blob, expected_cursor: old?.cursor ?? 0 };
      const result = await writer.client.push(space, [change]).catch(() => undefined);
      if (result?.cursor) written.push({ id: change.id, cursor: result.cursor });
      if (count === 280) calm = true;
    }
    for (const one of held) one();
    const all = await pulled(writer.client, space, 0);
    const end = all.at(-1);
    await until(() => replica.cursor === (end?.kind === "commit" ? end.cursor : 0));
    const records = all.filter((event) => event.kind === "record");
    const expected = records.map(({ id, blob }) => [id, hex(blob ?? new Uint8Array())]);
    assert.deepEqual([...replica.records].sort(), expected.sort());
    assert.deepEqual(replica.faults, []);
    assert.ok(odd > 50, `${odd} messages were disturbed`);
    assert.ok(replica.pulls < 300, `${replica.pulls} pulls`);
  });
}

/** Announcements and chunks: answers have one place each. @param {Buffer} frame */
function canBeDisturbed(frame) {
  if (frame[0] !== 0x82) return false;
  const size = Number(frame[1]);
  const start = size < 126 ? 2 : size === 126 ? 4 : 10;
  const message = /** @type {any} */ (decode(frame.subarray(start)));
  return message?.type === 2 || message?.type === 3;
}
