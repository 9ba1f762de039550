/**
 * Keeps a client connected: asks for a token, connects, subscribes again, and comes back after every loss.
 *
 * What is safe here: everything that changes the state runs between two `await`s, and each attempt belongs to
 * a run; whoever pauses or closes ends the run, and what it still does afterwards changes nothing.
 */

import { rest, within } from "./clock.js";
import { Connection } from "./connection.js";
import {
  ClientClosed,
  ConnectFailed,
  ConnectionLost,
  LessSyncError,
  NotThisProtocol,
  TokenRefused,
} from "./errors.js";
import { NOTICES, RESULTS, shaped } from "./shapes.js";

/** @typedef {"offline" | "connecting" | "online" | "refused" | "closed"} State */
/** @typedef {{id: string, since: number, ucan?: string, presence?: boolean}} Subscription */
/**
 * What came of subscribing again.
 *
 * @typedef {object} Standing
 * @property {import("./shapes.js").SubscribedSpace[]} spaces
 * @property {{space: string, error: string}[]} errors
 */
/** @typedef {{stopped: boolean, wake: () => void, connection?: Connection}} Run */

const TOKEN_EXPIRED = 4001;
const NORMAL = 1000;
const SPACES_PER_SUBSCRIBE = 1000;
/** Of UCANs, in one `subscribe`: they are the larger part of it, and a message has an end. */
const UCAN_CHARACTERS_PER_SUBSCRIBE = 2 * 1024 * 1024;

export class Keeper {
  #options;
  #emit;
  /** @type {State} */
  #state = "offline";
  /** @type {Run | undefined} */
  #run;
  /** @type {Connection | undefined} */
  #connection;
  /**
   * Who waits for a connection.
   *
   * @type {Set<{resolve: (connection: Connection) => void, reject: (error: Error) => void}>}
   */
  #waiting = new Set();

  /** What ended the last connection, or the last attempt. @type {LessSyncError | undefined} */
  trouble;

  /** By the id they were subscribed with: again after each loss. @type {Map<string, Subscription>} */
  subscriptions = new Map();

  /**
   * @param {{url: string, WebSocket: typeof globalThis.WebSocket, tokens: import("./tokens.js").Tokens,
   *   clock: import("./clock.js").Clock, random: () => number, limits: import("./limits.js").Limits}} options
   * @param {(name: "state" | "notice" | "online", ...values: any[]) => void} emit
   */
  constructor(options, emit) {
    this.#options = options;
    this.#emit = emit;
  }

  /** @returns {State} */
  get state() {
    return this.#state;
  }

  /**
   * Begin to connect, if that has not begun, and wait until it has come to something.
   *
   * @returns {Promise<void>}
   * @throws {TokenRefused | ClientClosed | ConnectFailed}
   */
  open() {
    if (this.#state === "offline" || this.#state === "refused") this.#start();
    const online = this.#wait(undefined).then(() => {});
    online.catch(() => {}); // Whoever does not wait is told by the state.
    return online;
  }

  /**
   * Disconnect, and come back when `open` is called.
   */
  pause() {
    if (this.#state !== "closed") {
      this.#stop("offline", new ConnectionLost(NORMAL, "paused"), new ConnectFailed(PAUSED));
    }
  }

  /** Disconnect for good. */
  close() {
    this.#stop("closed", new ClientClosed(), new ClientClosed());
  }

  /**
   * The present connection, or the next one if it comes in time.
   *
   * @param {string} method that needs it.
   * @returns {Promise<Connection>}
   * @throws {ConnectFailed} none came in time, or the client is paused.
   * @throws {TokenRefused | ClientClosed}
   */
  ready(method) {
    return this.#wait(method);
  }

  /**
   * A fresh token of the source, with its proof.
   *
   * @returns {Promise<import("./tokens.js").Credentials>}
   * @throws {import("./errors.js").TokenUnavailable}
   */
  credentials() {
    return this.#options.tokens.fresh();
  }

  /** The present connection, if there is one. */
  get connection() {
    return !this.#connection?.end ? this.#connection : undefined;
  }

  /**
   * @param {string | undefined} method without one there is no deadline.
   * @returns {Promise<Connection>}
   */
  async #wait(method) {
    const { clock, limits } = this.#options;
    if (this.connection) return this.connection;
    if (this.#state === "closed") throw new ClientClosed();
    if (this.#state === "offline") throw new ConnectFailed(PAUSED);
    if (this.#state === "refused") throw this.trouble;
    if (this.#waiting.size >= limits.calls) throw new ConnectFailed("too many requests");
    let entry = /** @type {any} */ (undefined);
    /** @type {Promise<Connection>} */
    const next = new Promise((resolve, reject) => this.#waiting.add((entry = { resolve, reject })));
    const late = () => new ConnectFailed(`${method}: no connection: ${this.trouble?.message ?? "no answer"}`);
    try {
      return await (method === undefined ? next : within(clock, limits.requestMs, next, late));
    } finally {
      this.#waiting.delete(entry);
    }
  }

  #start() {
    const run = { stopped: false, wake: () => {} };
    this.#run = run;
    this.#enter("connecting");
    void this.#keep(run);
  }

  /**
   * @param {State} state
   * @param {LessSyncError} error for calls under way.
   * @param {LessSyncError} unsent for calls that wait for a connection.
   */
  #stop(state, error, unsent) {
    const run = this.#run;
    this.#run = this.#connection = undefined;
    if (run) {
      run.stopped = true;
      run.connection?.fail(error);
      run.wake();
    }
    this.#enter(state);
    for (const entry of [...this.#waiting]) entry.reject(unsent);
  }

  /**
   * @param {State} state
   * @param {LessSyncError} [error]
   */
  #enter(state, error) {
    if (error) this.trouble = error;
    if (state === this.#state) return;
    this.#state = state;
    this.#emit("state", state, error);
  }

  /**
   * Connect, wait for the loss of the connection, wait, and so on, until the run is stopped. Never rejects.
   *
   * @param {Run} run
   */
  async #keep(run) {
    const { clock, limits } = this.#options;
    for (let attempt = 0; !run.stopped; attempt += 1) {
      let expired = false;
      let error;
      try {
        const connection = await this.#connect(run);
        attempt = 0;
        const openedAt = clock.now();
        error = await connection.ended;
        // An expired token is renewed at once, but never in a circle.
        const settled = clock.now() - openedAt >= limits.settledMs;
        expired = settled && error instanceof ConnectionLost && error.closeCode === TOKEN_EXPIRED;
      } catch (caught) {
        const odd = () => new LessSyncError("failed", "failed", { cause: caught });
        error = caught instanceof LessSyncError ? caught : odd();
      }
      if (run.stopped) return;
      if (error instanceof TokenRefused) {
        this.trouble = error;
        this.#stop("refused", error, error);
        return;
      }
      this.#connection = undefined;
      this.#enter("connecting", error);
      // A listener may have paused the client just now.
      if (!run.stopped) await this.#rest(run, expired ? 0 : this.#backoffMs(attempt));
    }
  }

  /**
   * Connect, authenticate, subscribe again. Only an answer proves that the token was taken.
   *
   * @param {Run} run
   */
  async #connect(run) {
    const { tokens, url, WebSocket, clock, limits } = this.#options;
    const { token, proof } = await tokens.fresh();
    if (run.stopped) throw new ClientClosed();
    const onNotice = this.#announce.bind(this);
    const connection = new Connection({ url, WebSocket, clock, limits, onNotice });
    run.connection = connection;
    try {
      const failed = await connection.opened;
      if (failed) throw failed;
      connection.notify("auth", { token, did_proof: proof });
      const again = await this.#subscribeAgain(connection);
      if (run.stopped) throw new ClientClosed();
      this.#online(connection, again);
      return connection;
    } catch (error) {
      connection.fail(new ConnectionLost(NORMAL, "given up"));
      throw error;
    }
  }

  /**
   * @param {Connection} connection
   * @returns {Promise<Standing>}
   */
  async #subscribeAgain(connection) {
    /** @type {Standing} */
    const all = { spaces: [], errors: [] };
    const sent = [...this.subscriptions.values()];
    for (const spaces of batches(sent)) {
      const answer = await connection.call("subscribe", { spaces }, RESULTS.subscribe ?? {});
      all.spaces.push(...answer.spaces);
      all.errors.push(...(answer.errors ?? []));
    }
    const gone = sent.map(({ id }) => id).filter((id) => !this.subscriptions.has(id));
    if (gone.length > 0) connection.notify("unsubscribe", { spaces: gone });
    return all;
  }

  /**
   * @param {Connection} connection
   * @param {Standing} again
   */
  #online(connection, { spaces, errors }) {
    this.#connection = connection;
    this.#enter("online");
    for (const entry of [...this.#waiting]) entry.resolve(connection);
    for (const { space, error } of errors) {
      if (this.subscriptions.delete(space)) this.#emit("notice", { method: "lost", space, error });
    }
    for (const { id, ...standing } of spaces) {
      if (!this.subscriptions.has(id)) continue;
      this.#emit("notice", { method: "resync", space: id, reason: "reconnected", ...standing });
    }
    this.#emit("online");
  }

  /**
   * @param {string} method
   * @param {unknown} params
   */
  #announce(method, params) {
    const shape = NOTICES[method];
    if (shape === undefined) {
      this.#emit("notice", { method: "other", name: method, params });
      return;
    }
    let known;
    try {
      known = shaped(params, shape, method);
    } catch (error) {
      if (!(error instanceof NotThisProtocol)) throw error;
      // Something was announced, and a pull tells what.
      for (const space of [...this.subscriptions.keys()]) {
        this.#emit("notice", { method: "resync", space, reason: "an announcement could not be read" });
      }
      return;
    }
    this.#emit("notice", { method, ...known });
  }

  /** @param {number} attempt */
  #backoffMs(attempt) {
    const { random, limits } = this.#options;
    const baseMs = Math.min(limits.backoffFirstMs * 2 ** Math.min(attempt, 16), limits.backoffMaxMs);
    return baseMs * (1 + limits.backoffJitter * random());
  }

  /**
   * @param {Run} run
   * @param {number} ms
   */
  #rest(run, ms) {
    return rest(this.#options.clock, ms, (wake) => (run.wake = wake));
  }
}

const PAUSED = "the client is paused";

/**
 * Group subscriptions into requests, one at least: its answer shows that the token was taken.
 *
 * @param {Subscription[]} subscriptions
 * @returns {Subscription[][]}
 */
function batches(subscriptions) {
  /** @type {Subscription[]} */
  let batch = [];
  const all = [batch];
  let characters = 0;
  for (const subscription of subscriptions) {
    characters += subscription.ucan?.length ?? 0;
    if (batch.length >= SPACES_PER_SUBSCRIBE || characters > UCAN_CHARACTERS_PER_SUBSCRIBE) {
      all.push((batch = []));
      characters = subscription.ucan?.length ?? 0;
    }
    batch.push(subscription);
  }
  return all;
}
