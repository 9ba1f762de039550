/** A pull that goes on where it broke (docs/protocol.md 7.5 and 13.3). */

import { AccessLost, NotThisProtocol, ServerUnavailable } from "./errors.js";
import { CHUNKS, shaped } from "./shapes.js";

/** @typedef {import("./shapes.js").PullEvent} PullEvent */
/** @typedef {Exclude<PullEvent, {kind: "begin" | "commit"}>} PullEntry */

/** A push has at most 100000 changes, and each may take files with it; no server has more at one cursor. */
const ENTRIES_PER_CURSOR_MAX = 1_000_000;

/**
 * Yield what changed in a space after `since`, as `SyncClient.pull` describes it.
 *
 * @param {import("./keeper.js").Keeper} keeper
 * @param {import("./limits.js").Limits} limits
 * @param {string} space
 * @param {number} since
 * @param {string | undefined} ucan
 * @returns {AsyncGenerator<PullEvent, void, void>}
 */
export async function* pulled(keeper, limits, space, since, ucan) {
  const seen = new Seen(since);
  for (let failures = 0; ; ) {
    const before = seen.entries;
    try {
      yield* pulledOnce(await keeper.ready("pull"), space, seen, ucan);
      return;
    } catch (error) {
      if (!(error instanceof ServerUnavailable)) throw error;
      failures = seen.entries === before ? failures + 1 : 0;
      if (failures > limits.pullResumptions || keeper.state === "offline") throw error;
    }
  }
}

/**
 * @param {import("./connection.js").Connection} connection
 * @param {string} space
 * @param {Seen} seen
 * @param {string | undefined} ucan
 * @returns {AsyncGenerator<PullEvent, void, void>}
 */
async function* pulledOnce(connection, space, seen, ucan) {
  seen.again();
  /** @type {"awaited" | "begun" | "committed"} */
  let stage = "awaited";
  let entries = 0;
  const params = { spaces: [{ id: space, since: seen.since, ucan }] };
  for await (const chunk of connection.stream("pull", params)) {
    const event = eventOf(chunk);
    if ((event?.kind === "begin") !== (stage === "awaited") || stage === "committed") throw disorder();
    if (event?.kind === "begin") stage = "begun";
    else if (event?.kind === "commit") {
      const { count } = event;
      if (count !== entries) throw new NotThisProtocol(`pull: ${entries} entries, not ${count}`);
      stage = "committed";
    } else {
      entries += 1;
      if (!event || !seen.isNew(event)) continue;
    }
    yield event;
  }
  if (stage === "awaited") throw new AccessLost("the server does not show the space");
  if (stage === "begun") throw new NotThisProtocol("pull: no commit");
}

/** A count alone does not show that one entry came twice and another not at all. */
function disorder() {
  return new NotThisProtocol("pull: not in order");
}

/**
 * @param {import("./chunks.js").Chunk} chunk
 * @returns {PullEvent | undefined} undefined: of a kind that is new.
 */
function eventOf({ name, data }) {
  const shape = name.startsWith("pull.") && CHUNKS[name];
  return shape ? { kind: name.slice("pull.".length), ...shaped(data, shape, name) } : undefined;
}

/**
 * How far a pull has come, so that a second one goes on where the first broke.
 *
 * Entries come by ascending cursor and several may share one, so the next request asks again for the last
 * cursor seen, and what was seen of it is left out. A `since` of 0 would hide tombstones: -1 does not.
 */
class Seen {
  entries = 0;
  #cursor;
  /** What came at this cursor, and in which request. @type {Map<string, number>} */
  #atCursor = new Map();
  #request = 0;
  #requestCursor = -Infinity;

  /** @param {number} since */
  constructor(since) {
    this.since = this.#cursor = since;
  }

  /** Another request begins: it may repeat what came at the last cursor. */
  again() {
    this.#request += 1;
    this.#requestCursor = -Infinity;
  }

  /**
   * Note one entry; false for one that was seen before the connection broke.
   *
   * @param {PullEntry} event
   * @throws {NotThisProtocol} no server orders them so.
   */
  isNew(event) {
    if (event.cursor < this.#requestCursor) throw disorder();
    this.#requestCursor = event.cursor;
    if (event.cursor !== this.#cursor) {
      this.#cursor = event.cursor;
      this.#atCursor.clear();
      this.since = event.cursor > 1 ? event.cursor - 1 : -1;
    }
    const key = event.kind === "membership" ? event.kind : `${event.kind} ${event.id}`;
    const before = this.#atCursor.get(key);
    if (before === this.#request) throw disorder();
    this.#atCursor.set(key, this.#request);
    if (before !== undefined) return false;
    if (this.#atCursor.size > ENTRIES_PER_CURSOR_MAX) throw new NotThisProtocol("pull: not in order");
    this.entries += 1;
    return true;
  }
}
