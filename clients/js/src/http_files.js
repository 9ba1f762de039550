/**
 * Files of spaces over HTTP (docs/files.md). Whoever calls has encrypted them.
 *
 * Nothing is repeated but a request whose token was refused, once and with another one.
 */

import { Growing, b64, fromB64, text } from "./bytes.js";
import {
  ConnectFailed,
  ConnectionLost,
  FileRefused,
  FilesNotServed,
  FilesScopeMissing,
  FileTooLarge,
  LessSyncError,
  NotThisProtocol,
  Refused,
  RequestTimeout,
  ServerUnavailable,
  TokenRefused,
} from "./errors.js";
import { NO_CLOSE_FRAME } from "./connection.js";

/** @typedef {import("./bytes.js").Bytes} Bytes */
/** @typedef {{ucan?: string}} Access */
/** @typedef {{method: string, path: string, headers: Record<string, string>, body?: Blob}} Request */
/** @typedef {{abort: AbortController, timer?: unknown}} Transfer its signal's reason is why it ended. */

const WRAPPED_DEK_BYTES = 44;
const ERROR_BYTES_MAX = 4096;
const PIECE_BYTES = 16 * 1024;

/** Words of a 401 that another token would not change. */
const NOT_THE_TOKEN = ["authorization required", "X-UCAN header too large"];

export class HttpFiles {
  #options;
  /** Transfers under way. @type {Set<Transfer>} */
  #transfers = new Set();
  /** Whose turn comes. @type {{go: () => void, fail: (error: LessSyncError) => void}[]} */
  #waiting = [];
  /** @type {LessSyncError | undefined} */
  #stopped;

  /**
   * @param {{base: string, tokens: import("./tokens.js").Tokens, fetch: typeof globalThis.fetch,
   *   clock: import("./clock.js").Clock, limits: import("./limits.js").Limits}} options
   */
  constructor(options) {
    this.#options = options;
  }

  /**
   * Store a file, bound to a live record of the space. A repetition must send the same bytes under the same
   * key: which attempt was stored is not told.
   *
   * @param {string} space
   * @param {string} file a random UUID.
   * @param {{record: string, dek: Uint8Array, body: Uint8Array | Blob} & Access} options `dek` is wrapped: 44
   *   bytes.
   * @returns {Promise<"stored" | "present">} present: one of this id was there already.
   * @throws {FileTooLarge | FileRefused | FilesNotServed | FilesScopeMissing | TokenRefused | Refused}
   * @throws {import("./errors.js").ServerUnavailable} it may have been stored.
   */
  async put(space, file, { record, dek, body, ucan }) {
    const headers = { ...access(ucan), "X-Record-ID": record, "X-Wrapped-DEK": b64(dek) };
    const blob = body instanceof Blob ? body : new Blob([/** @type {Bytes} */ (body)]);
    const request = { method: "PUT", path: pathOf(space, file), headers, body: blob };
    return this.#answered(request, [201, 204], async ({ status }) => (status === 201 ? "stored" : "present"));
  }

  /**
   * Fetch a file into memory; undefined: there is none.
   *
   * @param {string} space
   * @param {string} file
   * @param {Access & {bytesMax?: number}} [options] a larger file is a NotThisProtocol; 128 MiB unless said.
   * @returns {Promise<{dek: Bytes, body: Bytes} | undefined>}
   * @throws as `put`.
   */
  async get(space, file, { ucan, bytesMax = this.#options.limits.fileBytes } = {}) {
    const request = { method: "GET", path: pathOf(space, file), headers: access(ucan) };
    return this.#found(request, async (response, transfer) => {
      const { dek, size } = described(response);
      if (size > bytesMax) throw new NotThisProtocol(`too large: ${size} bytes, not ${bytesMax}`);
      const body = await this.#read(response, transfer, size);
      if (body.length !== size) throw lost("the file has another size");
      return { dek, body };
    });
  }

  /**
   * What the server knows of a file, without its content; undefined: there is none.
   *
   * @param {string} space
   * @param {string} file
   * @param {Access} [options]
   * @returns {Promise<{dek: Bytes, size: number} | undefined>}
   * @throws as `put`.
   */
  async head(space, file, { ucan } = {}) {
    const request = { path: pathOf(space, file), headers: access(ucan) };
    const of = (/** @type {string} */ method) => this.#found({ ...request, method }, async (found) => described(found));
    try {
      return await of("HEAD");
    } catch (error) {
      if (!(error instanceof FileRefused || error instanceof TokenRefused)) throw error;
      return of("GET"); // A refusal of HEAD has no words. The content is not read.
    }
  }

  /**
   * End all transfers; they and later ones fail with this, until `resume`.
   *
   * @param {LessSyncError} error
   */
  stop(error) {
    this.#stopped = error;
    for (const { abort } of this.#transfers) abort.abort(error);
    for (const { fail } of this.#waiting.splice(0)) fail(error);
  }

  /** Take requests again. */
  resume() {
    this.#stopped = undefined;
  }

  /**
   * @template T
   * @param {Request} request
   * @param {(response: Response, transfer: Transfer) => Promise<T>} use
   * @returns {Promise<T | undefined>}
   */
  async #found(request, use) {
    try {
      return await this.#answered(request, [200], use);
    } catch (error) {
      if (error instanceof FileRefused && error.status === 404) return undefined;
      throw error;
    }
  }

  /**
   * Send a request, again if its token was refused, and use the answer if it is as expected.
   *
   * @template T
   * @param {Request} request
   * @param {number[]} expected
   * @param {(response: Response, transfer: Transfer) => Promise<T>} use
   * @returns {Promise<T>}
   */
  async #answered(request, expected, use) {
    await this.#turn();
    try {
      for (let refused = ""; ; ) {
        const credentials = await this.#options.tokens.kept(refused);
        const tried = await this.#sent(request, credentials, expected, use);
        if (!("error" in tried)) return tried.value;
        // Only another token can change this answer, and only one other is tried.
        if (!(tried.error instanceof TokenRefused) || refused) throw tried.error;
        const other = await this.#options.tokens.kept(credentials.token);
        if (other.token === credentials.token) throw tried.error;
        refused = credentials.token;
      }
    } finally {
      // Whoever waits longest takes over this turn; so nobody who comes just now can take it first.
      const next = this.#waiting.shift();
      if (!next) this.#turns -= 1;
      else next.go();
    }
  }

  #turns = 0;

  /** @returns {Promise<void>} */
  async #turn() {
    const { fileRequests, fileRequestsWaiting } = this.#options.limits;
    if (this.#stopped) throw this.#stopped;
    if (this.#turns >= fileRequests) {
      if (this.#waiting.length >= fileRequestsWaiting) throw new ConnectFailed("too many requests");
      await /** @type {Promise<void>} */ (new Promise((go, fail) => this.#waiting.push({ go, fail })));
    } else this.#turns += 1;
  }

  /**
   * @template T
   * @param {Request} request
   * @param {import("./tokens.js").Credentials} credentials
   * @param {number[]} expected
   * @param {(response: Response, transfer: Transfer) => Promise<T>} use
   * @returns {Promise<{value: T} | {error: LessSyncError}>}
   */
  async #sent(request, credentials, expected, use) {
    const { base, fetch } = this.#options;
    const { method, body } = request;
    /** @type {Record<string, string>} */
    const headers = { ...request.headers, Authorization: `Bearer ${credentials.token}` };
    if (credentials.proof) headers["X-DID-Proof"] = credentials.proof;
    if (this.#stopped) throw this.#stopped;
    /** @type {Transfer} */
    const transfer = { abort: new AbortController() };
    const { signal } = transfer.abort;
    this.#transfers.add(transfer);
    try {
      this.#extend(transfer, method, body?.size);
      /** @type {RequestInit} */
      const how = { method, headers, body: body ?? null, signal, cache: "no-store", credentials: "omit", redirect: "error" };
      const response = await fetch(base + request.path, how);
      this.#extend(transfer, method);
      if (expected.includes(response.status)) return { value: await use(response, transfer) };
      return { error: meaning(response, await this.#wordsOf(response, transfer)) };
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof LessSyncError) throw error;
      throw method === "PUT" ? lost("broken off") : new ConnectFailed("no answer");
    } finally {
      this.#transfers.delete(transfer);
      this.#options.clock.clearTimeout(transfer.timer);
      transfer.abort.abort(); // Of a body that was not read, or not to its end, nothing more is wanted.
    }
  }

  /**
   * The server's words for an error; the status counts even if they do not come.
   *
   * @param {Response} response
   * @param {Transfer} transfer
   */
  async #wordsOf(response, transfer) {
    try {
      const { error } = JSON.parse(text(await this.#read(response, transfer, ERROR_BYTES_MAX)));
      return typeof error === "string" ? error : "";
    } catch {
      return "";
    }
  }

  /**
   * Give a transfer more time, and for so many bytes that are sent.
   *
   * @param {Transfer} transfer
   * @param {string} method
   * @param {number} [sentBytes]
   */
  #extend(transfer, method, sentBytes = 0) {
    const { clock, limits } = this.#options;
    const ms = limits.fileIdleMs + (sentBytes / PIECE_BYTES) * limits.uploadPerPieceMs;
    clock.clearTimeout(transfer.timer);
    transfer.timer = clock.setTimeout(() => transfer.abort.abort(new RequestTimeout(method, ms)), ms);
  }

  /**
   * Read a body.
   *
   * @param {Response} response
   * @param {Transfer} transfer
   * @param {number} bytesMax
   * @returns {Promise<Bytes>}
   * @throws {ConnectionLost} it is longer than `bytesMax`.
   */
  async #read(response, transfer, bytesMax) {
    const reader = response.body?.getReader();
    // What is asked for grows with what has come, not with what a server says.
    const whole = new Growing();
    for (;;) {
      const { value, done } = (await reader?.read()) ?? { done: true };
      if (!value || done) return whole.taken();
      if (whole.size + value.length > bytesMax) throw lost("the file has another size");
      whole.put(value);
      this.#extend(transfer, "GET");
    }
  }
}

/** @param {string} reason */
function lost(reason) {
  return new ConnectionLost(NO_CLOSE_FRAME, reason);
}

/**
 * @param {string} space
 * @param {string} file
 */
function pathOf(space, file) {
  return ["", "spaces", space, "files", file].map(encodeURIComponent).join("/");
}

/**
 * @param {string | undefined} ucan
 * @returns {Record<string, string>}
 */
function access(ucan) {
  if (!ucan) return {};
  if (!/^[\x21-\x7e]+$/.test(ucan)) throw new Refused("invalid_ucan", "no UCAN");
  return { "X-UCAN": ucan };
}

/**
 * The wrapped DEK and the size of the file that follows.
 *
 * @param {Response} response
 */
function described(response) {
  const size = Number(response.headers.get("content-length") ?? NaN);
  try {
    const dek = fromB64(response.headers.get("x-wrapped-dek") ?? "");
    if (dek.length === WRAPPED_DEK_BYTES && Number.isSafeInteger(size) && size >= 0) return { dek, size };
  } catch {
    // No base64: no key either.
  }
  throw new NotThisProtocol("no key or size");
}

/**
 * What an answer means that is not what was hoped for.
 *
 * @param {Response} response
 * @param {string} words
 * @returns {LessSyncError}
 */
function meaning({ status, headers }, words) {
  const told = `HTTP ${status}${words && `: ${words}`}`;
  if (status >= 500 || status === 408 || status === 429) {
    return new ServerUnavailable("not_ready", `the server is not ready: ${told}`);
  }
  if (status < 400) return new NotThisProtocol(told);
  if (status === 401 && !NOT_THE_TOKEN.includes(words)) return new TokenRefused(status, words);
  if (status === 403 && words === "files scope required") return new FilesScopeMissing();
  const isJson = headers.get("content-type")?.startsWith("application/json") ?? false;
  if (status === 404 && !isJson) return new FilesNotServed();
  if (status === 413) return new FileTooLarge(words);
  return new FileRefused(status, words);
}

