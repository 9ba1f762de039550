/**
 * Somebody with a folder, as a program that a test in Python orders about: a line of JSON in, a line of JSON out.
 *
 * Their state is the `shared.json` of a folder, so the command line can go on where this stops, and the other way
 * round. The first line says who they are: `{server, token, jwk, state}`.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline";

import { LessSyncError } from "../src/errors.js";
import { DeviceKey } from "../src/keys.js";
import { decodePlain } from "../src/plaintext.js";
import { Presence } from "../src/presence.js";
import * as sharing from "../src/sharing/index.js";
import { SyncClient } from "../src/sync_client.js";
import { epochsOfRecords, write } from "./records.js";

/** The program ends here, as if it had been killed. */
const KILLED = 9;

/** @param {string} path */
function file(path) {
  const load = () => {
    try {
      return JSON.parse(readFileSync(path, "utf8"));
    } catch (error) {
      if (/** @type {{code?: string}} */ (error).code === "ENOENT") return null;
      throw error;
    }
  };
  return {
    load: async () => load(),
    /** @param {(now: any) => any} fn */
    async change(fn) {
      const made = fn(load());
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(`${path}.new`, JSON.stringify(made), { mode: 0o600 });
      renameSync(`${path}.new`, path);
      return load();
    },
  };
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const { server, token, jwk, state } = JSON.parse((await lines.next()).value);
const device = await DeviceKey.fromJwk(jwk);
const client = new SyncClient({ server, token });
await client.open();
const ctx = { client, device, now: () => Date.now() / 1000, ...file(state) };
/** @type {Presence | undefined} */
let presence;
/** @type {unknown[]} */
const heard = [];

/** @type {Record<string, (order: any) => Promise<unknown>>} */
const orders = {
  create: async () => (await sharing.createSpace(ctx)).space,
  invite: (order) => sharing.invite(ctx, order),
  invite_token: (order) => sharing.inviteToken(ctx, order),
  mailbox: async () => (await sharing.mailbox(ctx)).waiting.map(({ id, space }) => ({ id, space })),
  async accept() {
    const [waiting] = (await sharing.mailbox(ctx)).waiting;
    return waiting && (await sharing.accept(ctx, waiting)).space;
  },
  join: async ({ bundle }) => (await sharing.join(ctx, bundle)).told,
  members: () => sharing.members(ctx),
  revoke: ({ did }) => sharing.revoke(ctx, did),
  /** `left`: the program is killed before this step. */
  async rotate({ remove = [], left = Infinity }) {
    let steps = 0;
    const onStep = () => {
      if (steps++ === left) process.exit(KILLED);
    };
    return { ...(await sharing.rotate(ctx, { remove, onStep })), steps };
  },
  async learn() {
    const { ucan } = await ctx.load();
    const { epoch, pending } = await sharing.standing(ctx, ucan);
    await sharing.readLog(ctx, epoch);
    return [epoch, pending];
  },
  write: ({ path, epoch }) => write(ctx, path, epoch),
  epochs: () => epochsOfRecords(ctx),
  /** Paths and texts of the records that open. */
  async read() {
    const kept = await ctx.load();
    const keys = sharing.spaceKeysOf(kept);
    const found = [];
    for await (const event of client.pull(kept.space, 0, { ucan: kept.ucan })) {
      if (event.kind !== "record" || !event.blob || !event.dek) continue;
      const plain = decodePlain(await keys.open(event.id, { blob: event.blob, dek: event.dek }));
      if (plain.kind === "file") found.push([plain.path, new TextDecoder().decode(plain.content)]);
    }
    return found.sort();
  },
  async present({ text }) {
    presence = new Presence(ctx);
    for (const name of /** @type {const} */ (["here", "left", "event"])) {
      presence.on(name, ({ did, text }) => void heard.push([name, did, text]));
    }
    await presence.open();
    presence.set(text);
  },
  send: ({ text }) => /** @type {Presence} */ (presence).send(text),
  heard: async () => heard,
};

for await (const line of { [Symbol.asyncIterator]: () => lines }) {
  const { do: name, ...order } = JSON.parse(line);
  const answer = await /** @type {(order: any) => Promise<unknown>} */ (orders[name])(order).then(
    (ok) => ({ ok: ok ?? null }),
    (error) => {
      if (error instanceof LessSyncError) return { error: error.code };
      throw error;
    },
  );
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await client.close();
process.exit(0);
