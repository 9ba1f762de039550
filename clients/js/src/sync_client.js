/** A client of one server with one identity: calls over a connection that comes back by itself. */

import { addressOf } from "./address.js";
import { Calls } from "./calls.js";
import { systemClock } from "./clock.js";
import { ClientClosed, ConnectFailed, Refused } from "./errors.js";
import { Emitter } from "./events.js";
import { HttpFiles } from "./http_files.js";
import { Keeper } from "./keeper.js";
import { LIMITS } from "./limits.js";
import { pulled } from "./pulling.js";
import { Tokens } from "./tokens.js";

/** @typedef {import("./keeper.js").State} State */
/** @typedef {import("./errors.js").LessSyncError} LessSyncError */
/** @typedef {import("./bytes.js").Bytes} Bytes */

/**
 * What the server announces (docs/protocol.md 9), by `method`, and three kinds of this client's own: `resync`
 * (announcements of the space may have been missed: pull), `lost` (after a reconnect the server did not take
 * the space again; `error` is its code) and `other` (a kind that is new, as it came).
 *
 * @typedef {{method: "sync", space: string, prev: number, cursor: number, key_generation: number,
 *     rewrap_epoch?: number, records: import("./shapes.js").SyncRecord[]}
 *   | {method: "membership", space: string, cursor: number, entries: import("./shapes.js").MemberEntry[]}
 *   | {method: "file", space: string, cursor: number, files: import("./shapes.js").FileChange[]}
 *   | {method: "revoked", space: string, reason: string}
 *   | {method: "resubscribe", spaces: string[]}
 *   | {method: "invitation"}
 *   | {method: "presence", space: string, peer: string, data: Bytes}
 *   | {method: "presence.leave", space: string, peer: string}
 *   | {method: "event", space: string, peer: string, data: Bytes}
 *   | {method: "resync", space: string, reason: string, cursor?: number, key_generation?: number,
 *     rewrap_epoch?: number, peers?: import("./shapes.js").Peer[]}
 *   | {method: "lost", space: string, error: string}
 *   | {method: "other", name: string, params: unknown}} Notice
 */

/** @typedef {{state: [State, LessSyncError | undefined], notice: [Notice], online: []}} Events */

/**
 * @typedef {object} SyncClientOptions
 * @property {string} server `https://sync.example.org`; `http`, `ws` and `wss` as well. Over `http` a token
 *   travels unencrypted.
 * @property {import("./tokens.js").TokenSource} token or what gives one: it is asked for each connection.
 * @property {import("./keys.js").DeviceKey} [device] proves its DID with each token (docs/tokens.md).
 * @property {import("./clock.js").Clock} [clock] for tests, as the rest.
 * @property {() => number} [random] from 0 to 1, for the jitter.
 * @property {typeof globalThis.WebSocket} [WebSocket]
 * @property {typeof globalThis.fetch} [fetch]
 * @property {Partial<import("./limits.js").Limits>} [limits]
 */

/**
 * The protocol of the server as calls; nothing is encrypted here. All calls of `Calls` belong to it.
 *
 *     const client = new SyncClient({ server: "https://sync.example.org", token: () => myToken() });
 *     client.on("notice", (notice) => ...);
 *     await client.open();
 *     await client.subscribe([{ id: space }]);
 *     for await (const event of client.pull(space, cursor)) ...
 *     const { ok, error } = await client.push(space, [{ id, blob, expected_cursor: 0 }]);
 *
 * It comes back after every loss, waiting 1 s doubled up to 30 s, and up to 30 % more at random, until an
 * authenticated answer has come; what was subscribed is subscribed again, and a notice `resync` for each
 * space says that a pull is due. After a refused token (4000, 4002) it stays away: `state` is "refused" and
 * `trouble` says why, until `resume`. A connection on which nothing arrives for 75 s is dead.
 *
 * Calls made while there is no connection wait up to 30 s for one; while the client is paused they fail at
 * once. A call under way when the connection breaks rejects with ConnectionLost: a push may or may not have
 * been written, and a pull by cursor tells.
 */
export class SyncClient extends Calls {
  #keeper;
  #limits;
  /** @type {Emitter<Events>} */
  #events;

  /** Files of spaces, over HTTP (docs/files.md). @type {HttpFiles} */
  files;

  /**
   * Nothing is connected before `open`.
   *
   * @param {SyncClientOptions} options
   * @throws {Refused} `invalid_server`, or `no_websocket`: this platform has none.
   */
  constructor(options) {
    const { server, token, device, clock = systemClock, random = Math.random } = options;
    const { WebSocket = globalThis.WebSocket, fetch = globalThis.fetch.bind(globalThis) } = options;
    if (!WebSocket) throw new Refused("no_websocket", "no WebSocket here");
    const limits = { ...LIMITS, ...options.limits };
    const address = addressOf(server);
    /** @type {Emitter<Events>} */
    const events = new Emitter();
    const tokens = new Tokens(token, device, clock, limits.requestMs);
    const ways = { url: address.webSocket, WebSocket, tokens, clock, random, limits };
    const keeper = new Keeper(ways, (name, ...values) => events.emit(name, .../** @type {any} */ (values)));
    super(keeper);
    this.#keeper = keeper;
    this.#limits = limits;
    this.#events = events;
    this.files = new HttpFiles({ base: address.http, tokens, fetch, clock, limits });
  }

  /**
   * "offline" (not opened yet, or paused), "connecting" (or waiting before the next attempt), "online",
   * "refused" (the token) or "closed".
   *
   * @returns {State}
   */
  get state() {
    return this.#keeper.state;
  }

  /** Why the last connection, or the last attempt, ended. @returns {LessSyncError | undefined} */
  get trouble() {
    return this.#keeper.trouble;
  }

  /**
   * Connect, and stay connected. Resolves with the first authenticated answer, however long that takes; need
   * not be waited for.
   *
   * @returns {Promise<void>}
   * @throws {import("./errors.js").TokenRefused | ClientClosed}
   * @throws {ConnectFailed} the client was paused before there was a connection.
   */
  open() {
    if (this.state !== "closed") this.files.resume();
    return this.#keeper.open();
  }

  /** Disconnect, until `resume`: calls under way fail, and so does what is called meanwhile. */
  pause() {
    this.#keeper.pause();
    if (this.state !== "closed") this.files.stop(new ConnectFailed("the client is paused"));
  }

  /** Connect again after `pause`, or with another token after a refusal. Connected already: nothing. */
  resume() {
    void this.open();
  }

  /**
   * End for good: calls under way and all later ones reject with ClientClosed. Does not wait for the server,
   * though Node does not exit before it has answered, or TCP has given it up.
   */
  async close() {
    this.#keeper.close();
    this.files.stop(new ClientClosed());
  }

  /**
   * Listen. "state": (state, error?) when it changes; "notice": each announcement, in order; "online": after
   * each successful connect, when its `resync` notices have been told.
   *
   * @template {keyof Events} N
   * @param {N} name
   * @param {(...values: Events[N]) => unknown} listener must be quick: announcements wait for nobody.
   * @returns {() => void} to listen no more.
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  /**
   * Yield what changed in a space after `since`: `begin`, entries by ascending cursor, `commit`; the cursor
   * of the commit is the one to pull from next (docs/protocol.md 7.5).
   *
   * A lost connection is resumed where it broke, without repeating an entry; then another `begin` comes,
   * which replaces the former. If it ends in an error, forget what came; or, if some of it was kept, pull
   * from -1 where 0 was meant: only then deletions are told of. Holds a bounded number of entries, however
   * large the space is.
   *
   * @param {string} space
   * @param {number} since the cursor of the last commit; 0: all, without tombstones.
   * @param {{ucan?: string}} [options]
   * @returns {AsyncGenerator<import("./shapes.js").PullEvent, void, void>}
   * @throws {import("./errors.js").AccessLost} the server does not show this space.
   * @throws {import("./errors.js").ServerUnavailable} lost too often without getting on, or paused.
   * @throws {import("./errors.js").RequestFailed | import("./errors.js").NotThisProtocol | ClientClosed}
   */
  pull(space, since, { ucan } = {}) {
    return pulled(this.#keeper, this.#limits, space, since, ucan);
  }
}
