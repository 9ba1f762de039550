/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 *
 * @typedef {import("./bytes.js").Bytes} Bytes
 * @typedef {{peer: string, data: Bytes}} Peer
 * @typedef {{id: string, cursor: number, key_generation: number, rewrap_epoch?: number, peers?: Peer[]}}
 *   SubscribedSpace
 * @typedef {{chain_seq: number, prev_hash?: Bytes, entry_hash: Bytes, payload: Bytes}} MemberEntry
 * @typedef {{id: string, payload: string, created_at: string, expires_at: string}} Invitation
 * @typedef {{space: string, mailbox: string, did: string, scopes: string[], expires_at: number}} SessionInfo
 * @typedef {{ok: boolean, cursor?: number, error?: string}} PushResult
 *
 * @typedef {{kind: "begin", space: string, prev: number, cursor: number, key_generation: number,
 *   rewrap_epoch?: number}} PullBegin
 * @typedef {{kind: "record", space: string, id: string, blob?: Bytes, cursor: number, dek?: Bytes,
 *   deleted?: boolean}} PullRecord
 * @typedef {{kind: "membership", space: string, cursor: number, entries: MemberEntry[]}} PullMembership
 * @typedef {{kind: "file", space: string, id: string, record_id: string, size?: number, dek: Bytes,
 *   cursor: number, deleted?: boolean}} PullFile
 * @typedef {{kind: "commit", space: string, prev: number, cursor: number, count: number}} PullCommit
 * @typedef {PullBegin | PullRecord | PullMembership | PullFile | PullCommit} PullEvent
 *
 * @typedef {{id: string, blob?: Bytes, cursor: number, dek?: Bytes, deleted?: boolean}} SyncRecord
 * @typedef {{id: string, record_id: string, size?: number, dek?: Bytes, deleted?: boolean}} FileChange
 */

import { NotThisProtocol } from "./errors.js";

/** @typedef {"text" | "int" | "bytes" | "bool"} Leaf */
/**
 * A list holds the shape of its items; a "?" ends the names of members that may be missing.
 *
 * @typedef {Leaf | readonly unknown[] | {readonly [member: string]: unknown}} Shape
 */

const PEER = /** @type {const} */ ({ peer: "text", data: "bytes" });
const ENTRY = /** @type {const} */ ({
  chain_seq: "int", "prev_hash?": "bytes", entry_hash: "bytes", payload: "bytes",
});
const INVITATION = /** @type {const} */ ({
  id: "text", payload: "text", created_at: "text", expires_at: "text",
});
const SUBSCRIBED = /** @type {const} */ ({
  id: "text", cursor: "int", key_generation: "int", "rewrap_epoch?": "int", "peers?": [PEER],
});
const RECORD = /** @type {const} */ ({
  id: "text", "blob?": "bytes", cursor: "int", "dek?": "bytes", "deleted?": "bool",
});

/** Results by method; what is not here has any shape of an object. @type {Record<string, Shape>} */
export const RESULTS = {
  "session.info": { space: "text", mailbox: "text", did: "text", scopes: ["text"], expires_at: "int" },
  "token.refresh": { ok: "bool", "error?": "text" },
  "space.create": { id: "text", key_generation: "int", "home_server?": "text" },
  subscribe: { spaces: [SUBSCRIBED], "errors?": [{ space: "text", error: "text" }] },
  push: { ok: "bool", "cursor?": "int", "error?": "text" },
  "membership.append": { chain_seq: "int", metadata_version: "int" },
  "membership.list": { entries: [ENTRY], metadata_version: "int" },
  "invitation.create": INVITATION,
  "invitation.list": { invitations: [INVITATION] },
  "invitation.get": INVITATION,
  "epoch.begin": { "epoch?": "int", "error?": "text", "current_epoch?": "int", "rewrap_epoch?": "int" },
  "deks.rewrap": { ok: "bool", count: "int" },
  "file.deks.rewrap": { ok: "bool", count: "int" },
};

/** Of every method that answers in chunks. */
export const CHUNKED = /** @type {const} */ ({ _chunks: "int" });

/** Chunks by name. @type {Record<string, Shape>} */
export const CHUNKS = {
  __proto__: /** @type {any} */ (null),
  "pull.begin": { space: "text", prev: "int", cursor: "int", key_generation: "int", "rewrap_epoch?": "int" },
  "pull.record": { space: "text", ...RECORD },
  "pull.membership": { space: "text", cursor: "int", entries: [ENTRY] },
  "pull.file": {
    space: "text", id: "text", record_id: "text", "size?": "int", dek: "bytes", cursor: "int",
    "deleted?": "bool",
  },
  "pull.commit": { space: "text", prev: "int", cursor: "int", count: "int" },
  "deks.record": { id: "text", dek: "bytes", seq: "int" },
  "deks.files.record": { id: "text", dek: "bytes", cursor: "int" },
};

/** Notifications of the server by method. @type {Record<string, Shape>} */
export const NOTICES = {
  __proto__: /** @type {any} */ (null),
  sync: {
    space: "text", prev: "int", cursor: "int", key_generation: "int", "rewrap_epoch?": "int",
    records: [RECORD],
  },
  membership: { space: "text", cursor: "int", entries: [ENTRY] },
  file: {
    space: "text", cursor: "int",
    files: [{ id: "text", record_id: "text", "size?": "int", "dek?": "bytes", "deleted?": "bool" }],
  },
  revoked: { space: "text", reason: "text" },
  resubscribe: { spaces: ["text"] },
  invitation: {},
  presence: { space: "text", ...PEER },
  "presence.leave": { space: "text", peer: "text" },
  event: { space: "text", ...PEER },
};

/**
 * A copy of a value that has a shape, with what the shape knows.
 *
 * @param {unknown} value
 * @param {Shape} shape
 * @param {string} what it is, for the error.
 * @returns {any}
 * @throws {NotThisProtocol} it has another.
 */
export function shaped(value, shape, what) {
  const wrong = () => new NotThisProtocol(`${what}: malformed`);
  if (typeof shape === "string") {
    if (!LEAVES[/** @type {Leaf} */ (shape)](value)) throw wrong();
    return value;
  }
  if (Array.isArray(shape)) {
    if (!Array.isArray(value)) throw wrong();
    return value.map((item) => shaped(item, /** @type {Shape} */ (shape[0]), what));
  }
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw wrong();
  }
  /** @type {Record<string, unknown>} */
  const copy = {};
  for (const [member, inner] of Object.entries(shape)) {
    const name = member.replace("?", "");
    const found = /** @type {Record<string, unknown>} */ (value)[name];
    if (name !== member && (found === undefined || !found)) continue;
    copy[name] = shaped(found, /** @type {Shape} */ (inner), what);
  }
  return copy;
}

/** @type {Record<Leaf, (value: unknown) => boolean>} */
const LEAVES = {
  text: (value) => typeof value === "string",
  int: (value) => Number.isSafeInteger(value),
  bytes: (value) => value instanceof Uint8Array,
  bool: (value) => typeof value === "boolean",
};
