/**
 * One WebSocket to a server: requests by id, chunks, what the server announces, and when it is over.
 *
 * A connection never reconnects; `keeper.js` makes the next one.
 */

import { decode, encode } from "./cbor.js";
import { Chunks } from "./chunks.js";
import { within } from "./clock.js";
import {
  AccessLost,
  ConnectFailed,
  ConnectionLost,
  FrameTooLarge,
  LessSyncError,
  NotThisProtocol,
  RequestFailed,
  RequestTimeout,
  TokenRefused,
} from "./errors.js";
import { CHUNKED, shaped } from "./shapes.js";

/** @typedef {import("./chunks.js").Chunk} Chunk */
/** @typedef {import("./chunks.js").Response} Response */
/** @typedef {import("./shapes.js").Shape} Shape */

const SUBPROTOCOLS = ["betterbase-rpc-v1", "less-rpc-v1"];
const REQUEST = 0;
const RESPONSE = 1;
const NOTIFICATION = 2;
const CHUNK = 3;
/** By type. @type {Record<number, Shape>} */
const FRAMES = {
  [RESPONSE]: { id: "text", "error?": { code: "text", message: "text" } },
  [NOTIFICATION]: { method: "text" },
  [CHUNK]: { id: "text", name: "text" },
};
/** `readyState` of a WebSocket that is open. */
const OPEN = 1;

/** The close code of a connection that ended without a close frame (RFC 6455, 7.1.5). */
export const NO_CLOSE_FRAME = 1006;

/** After these a client stays away (docs/protocol.md 11). */
const REFUSALS = [4000, 4002];

/**
 * @typedef {object} ConnectionOptions
 * @property {string} url of the WebSocket route.
 * @property {typeof globalThis.WebSocket} WebSocket
 * @property {import("./clock.js").Clock} clock
 * @property {import("./limits.js").Limits} limits
 * @property {(method: string, params: unknown) => void} onNotice in the order of arrival; must not throw.
 *
 * @typedef {object} Exchange a request under way
 * @property {(frame: Chunk | Response, sizeBytes: number) => void} take what came for it.
 * @property {(error: LessSyncError) => void} fail it: nothing more will come.
 */

export class Connection {
  #socket;
  #clock;
  #limits;
  #onNotice;
  /** By the ids of their requests. @type {Map<string, Exchange>} */
  #exchanges = new Map();
  #nextId = 0;
  #heardAt;
  #chunkAt;
  /** @type {unknown} */
  #timer;
  /** @type {(error: LessSyncError | undefined) => void} */
  #isOpen = () => {};
  /** @type {(error: LessSyncError) => void} */
  #isOver = () => {};

  /**
   * How it ended; undefined while it has not.
   *
   * @type {LessSyncError | undefined}
   */
  end;

  /** How it ended, once it has. @type {Promise<LessSyncError>} */
  ended;

  /**
   * Resolves when messages can be sent, or with the error if they never can.
   *
   * @type {Promise<LessSyncError | undefined>}
   */
  opened;

  /**
   * Begin to connect.
   *
   * @param {ConnectionOptions} options
   * @throws {NotThisProtocol} no WebSocket can have this address.
   */
  constructor({ url, WebSocket, clock, limits, onNotice }) {
    this.#clock = clock;
    this.#limits = limits;
    this.#onNotice = onNotice;
    this.#heardAt = this.#chunkAt = clock.now();
    this.opened = new Promise((resolve) => (this.#isOpen = resolve));
    this.ended = new Promise((resolve) => (this.#isOver = resolve));
    let socket;
    try {
      socket = new WebSocket(url, SUBPROTOCOLS);
    } catch (error) {
      throw new NotThisProtocol("no WebSocket here", { cause: error });
    }
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => this.#begin();
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.fail(this.#meaning(event.code, event.reason));
    // A close event follows, though not in every release of every platform.
    socket.onerror = () => this.fail(this.#meaning(NO_CLOSE_FRAME, ""));
    const late = new ConnectFailed("no answer");
    this.#timer = clock.setTimeout(() => this.fail(late), limits.openMs);
  }

  /**
   * Send a request and give its result.
   *
   * @param {string} method
   * @param {unknown} params
   * @param {Shape} shape of the result.
   * @param {number} [timeoutMs]
   * @returns {Promise<any>}
   * @throws {RequestFailed} an error response; AccessLost: `forbidden`.
   * @throws {RequestTimeout | ConnectionLost | TokenRefused} the fate of the request is unknown.
   * @throws {FrameTooLarge | ConnectFailed | import("./cbor.js").CborError} nothing was sent.
   * @throws {NotThisProtocol} the result has another shape.
   */
  async call(method, params, shape, timeoutMs = this.#limits.requestMs) {
    const id = this.#newId();
    try {
      /** @type {Promise<Response>} */
      const response = new Promise((resolve, fail) => {
        const take = (/** @type {Chunk | Response} */ frame) => {
          if (frame.type === RESPONSE) resolve(frame);
        };
        this.#ask(id, method, params, { take, fail });
      });
      const late = () => new RequestTimeout(method, timeoutMs);
      return result(await within(this.#clock, timeoutMs, response, late), shape, method);
    } finally {
      this.#exchanges.delete(id);
    }
  }

  /**
   * Send a request that is answered in chunks and yield them. Their count is checked at the end.
   *
   * @param {string} method
   * @param {unknown} params
   * @returns {AsyncGenerator<Chunk, void, void>}
   * @throws as `call`; RequestTimeout when no chunk comes for 30 s; StreamOverrun.
   */
  async *stream(method, params) {
    const id = this.#newId();
    const chunks = new Chunks(this.#limits);
    let received = 0;
    try {
      this.#ask(id, method, params, chunks);
      for (;;) {
        const frame = chunks.next() ?? (await this.#nextOf(chunks, method));
        if (frame.type === RESPONSE) {
          const { _chunks } = result(frame, CHUNKED, method);
          if (_chunks === received) return;
          throw new NotThisProtocol(`${method}: ${received} chunks, not ${_chunks}`);
        }
        received += 1;
        yield frame;
      }
    } finally {
      this.#exchanges.delete(id);
    }
  }

  /**
   * Send a notification, which is never answered.
   *
   * @param {string} method
   * @param {unknown} params
   * @throws {FrameTooLarge | LessSyncError | import("./cbor.js").CborError} nothing was sent.
   */
  notify(method, params) {
    this.#send(encode({ type: NOTIFICATION, method, params }));
  }

  /**
   * End the connection, if it has not ended: every call under way fails with `error`.
   *
   * @param {LessSyncError} error
   */
  fail(error) {
    if (this.end) return;
    this.end = error;
    this.#clock.clearTimeout(this.#timer);
    const socket = this.#socket;
    // A dead connection is told of its close minutes later, and what it says then is of no interest.
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => {};
    socket.close();
    for (const exchange of [...this.#exchanges.values()]) exchange.fail(error);
    this.#exchanges.clear();
    this.#isOpen(error);
    this.#isOver(error);
  }

  #begin() {
    if (!SUBPROTOCOLS.includes(this.#socket.protocol)) {
      this.fail(new NotThisProtocol("no version in common"));
      return;
    }
    this.#clock.clearTimeout(this.#timer);
    this.#heardAt = this.#clock.now();
    this.#listen();
    this.#isOpen(undefined);
  }

  /** The server breaks the silence every 30 s; a connection that has lost its other end never does. */
  #listen() {
    const { silenceMs } = this.#limits;
    const leftMs = this.#heardAt + silenceMs - this.#clock.now();
    if (leftMs > 0) this.#timer = this.#clock.setTimeout(() => this.#listen(), leftMs);
    else this.fail(new ConnectionLost(NO_CLOSE_FRAME, "no answer"));
  }

  /** @param {unknown} data */
  #receive(data) {
    this.#heardAt = this.#clock.now();
    if (!(data instanceof ArrayBuffer) || data.byteLength === 0) return;
    try {
      const { frameBytes } = this.#limits;
      if (data.byteLength > frameBytes) throw new NotThisProtocol("a frame is too large");
      this.#route(frameOf(data), data.byteLength);
    } catch (error) {
      const broken = new NotThisProtocol("a frame is malformed", { cause: error });
      this.fail(error instanceof NotThisProtocol ? error : broken);
    }
  }

  /**
   * @param {any} frame
   * @param {number} sizeBytes
   */
  #route(frame, sizeBytes) {
    if (frame?.type === NOTIFICATION) this.#onNotice(frame.method, frame.params);
    else if (frame?.type === RESPONSE || frame?.type === CHUNK) {
      // Chunks that nobody wants any more count as well: what was asked for later stands behind them.
      if (frame.type === CHUNK) this.#chunkAt = this.#clock.now();
      this.#exchanges.get(frame.id)?.take(frame, sizeBytes);
    } // else a keepalive, or a type that is new
  }

  /**
   * @param {Chunks} chunks
   * @param {string} method
   */
  async #nextOf(chunks, method) {
    const { chunkIdleMs } = this.#limits;
    const askedAt = this.#clock.now();
    for (;;) {
      const leftMs = Math.max(askedAt, this.#chunkAt) + chunkIdleMs - this.#clock.now();
      if (leftMs <= 0) throw new RequestTimeout(method, chunkIdleMs);
      await chunks.changed(this.#clock, leftMs);
      const frame = chunks.next();
      if (frame) return frame;
    }
  }

  #newId() {
    this.#nextId += 1;
    return `c${this.#nextId}`;
  }

  /**
   * @param {string} id
   * @param {string} method
   * @param {unknown} params
   * @param {Exchange} exchange
   */
  #ask(id, method, params, exchange) {
    const { calls } = this.#limits;
    if (this.#exchanges.size >= calls) throw new ConnectFailed("too many requests");
    const frame = encode({ type: REQUEST, id, method, params });
    this.#exchanges.set(id, exchange);
    this.#send(frame);
  }

  /** @param {import("./bytes.js").Bytes} frame */
  #send(frame) {
    const { frameBytes, sendBytesWaiting } = this.#limits;
    if (frame.length > frameBytes) throw new FrameTooLarge(frame.length, frameBytes);
    if (this.end) throw this.end;
    if (this.#socket.readyState !== OPEN) throw new ConnectionLost(NO_CLOSE_FRAME);
    if (this.#socket.bufferedAmount + frame.length > sendBytesWaiting) {
      throw new ConnectFailed("too much waits");
    }
    this.#socket.send(frame);
  }

  /**
   * What the end of the socket means.
   *
   * @param {number} code
   * @param {string} reason
   */
  #meaning(code, reason) {
    if (REFUSALS.includes(code)) return new TokenRefused(code, reason);
    if (code === NO_CLOSE_FRAME && this.#socket.protocol === "") return new ConnectFailed("no connection");
    return new ConnectionLost(code, reason);
  }
}

/**
 * Read a message of the server. Of a type that is not known nothing is looked at (docs/protocol.md 3.4).
 *
 * @param {ArrayBuffer} data
 * @returns {any}
 * @throws {NotThisProtocol | import("./cbor.js").CborError} it is no frame.
 */
function frameOf(data) {
  const frame = /** @type {any} */ (decode(new Uint8Array(data)));
  if (frame === null) return null;
  shaped(frame, {}, "a frame");
  shaped(frame, FRAMES[frame.type] ?? {}, "a frame");
  return frame;
}

/**
 * @param {Response} response
 * @param {Shape} shape
 * @param {string} method
 */
function result({ result: value, error }, shape, method) {
  if (!error) return shaped(value, shape, method);
  const { code, message } = error;
  throw code === "forbidden" ? new AccessLost(message) : new RequestFailed(code, message);
}
