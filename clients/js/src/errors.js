/**
 * What a call can end in, apart from its result.
 *
 * LessSyncError             `code` says which, in words of this list or of the server
 * ├── ServerUnavailable     try again later: nothing is wrong with the request
 * │   ├── ConnectFailed     no connection came in time, or the client is paused; nothing was sent
 * │   ├── ConnectionLost    it broke while the call was under way: its fate is unknown
 * │   ├── RequestTimeout    no answer in time: its fate is unknown
 * │   └── StreamOverrun     chunks came faster than they were taken
 * ├── TokenUnavailable      the token source gave none, or the device could not sign for it
 * ├── TokenRefused          the server will not have this token; the client stays away with it
 * ├── RequestFailed         an error response; `code` is the server's (docs/protocol.md 10)
 * │   └── AccessLost        `forbidden`: the space is not, or no longer, open to this person
 * ├── FrameTooLarge         the request does not fit into one message; nothing was sent
 * ├── FilesNotServed        the server has no file storage
 * ├── FilesScopeMissing     the token is not for files
 * ├── FileTooLarge          the server takes no file of this size
 * ├── FileRefused           another refusal of a file request; `status` and `error` are the server's
 * ├── NotThisProtocol       the other end does not speak the protocol, or broke it
 * ├── ClientClosed          the client was closed
 * ├── Undecryptable         a key is missing, or somebody else sealed the bytes
 * ├── QuotaExceeded         the browser gives the local store no more room
 * └── Refused               this client refuses to do it: a rule of this library, told by `code`
 *
 * No text of these holds a token, a key or content.
 */

/** Root of the library's errors. */
export class LessSyncError extends Error {
  /**
   * @param {string} code a word that programs can go by.
   * @param {string} message for people.
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, message, options) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
  }
}

/** The server is away or does not answer: try again later. */
export class ServerUnavailable extends LessSyncError {}

/** No connection came in time, or the client is paused. Nothing was sent. */
export class ConnectFailed extends ServerUnavailable {
  /**
   * @param {string} message
   * @param {{cause?: unknown}} [options]
   */
  constructor(message, options) {
    super("connect_failed", message, options);
  }
}

/** The connection ended while the call was under way. A write may or may not have been done. */
export class ConnectionLost extends ServerUnavailable {
  /**
   * @param {number} closeCode that of the close frame; 1006 when there was none (docs/protocol.md 11).
   * @param {string} [reason] the server's, for people.
   */
  constructor(closeCode, reason = "") {
    super("connection_lost", `connection lost (${closeCode}${reason && `: ${reason}`})`);
    this.closeCode = closeCode;
    this.reason = reason;
  }
}

/** No answer in time. A write may or may not have been done. */
export class RequestTimeout extends ServerUnavailable {
  /**
   * @param {string} method
   * @param {number} timeoutMs
   */
  constructor(method, timeoutMs) {
    super("timeout", `no answer to ${method} within ${timeoutMs / 1000} s`);
    this.method = method;
    this.timeoutMs = timeoutMs;
  }
}

/** Chunks of a stream came faster than they were taken. Ask again from where it broke, as `pull` does. */
export class StreamOverrun extends ServerUnavailable {
  constructor() {
    super("overrun", "read too slowly");
  }
}

/** The token source failed, or gave what is no token; or the device could not sign for it. */
export class TokenUnavailable extends LessSyncError {
  /**
   * @param {string} message
   * @param {{cause?: unknown}} [options]
   */
  constructor(message, options) {
    super("token_unavailable", message, options);
  }
}

/** The server will not have the token (docs/protocol.md 11): get another, then `client.resume()`. */
export class TokenRefused extends LessSyncError {
  /**
   * @param {number} closeCode 4000 or 4002; 401 for a request about a file.
   * @param {string} reason the server's: `expired auth token`, say.
   */
  constructor(closeCode, reason) {
    super("token_refused", `the server refused the token: ${reason || closeCode}`);
    this.closeCode = closeCode;
    this.reason = reason;
  }
}

/** The server answered with an error. `code` is one of docs/protocol.md 10, or one that is new. */
export class RequestFailed extends LessSyncError {
  /**
   * @param {string} code
   * @param {string} [message]
   */
  constructor(code, message = "") {
    super(code, message ? `${code}: ${message}` : code);
    /** The server's words. */
    this.detail = message;
  }
}

/** `forbidden`: the space is not, or no longer, open to this person (docs/protocol.md 5.4). */
export class AccessLost extends RequestFailed {
  /** @param {string} [message] */
  constructor(message = "") {
    super("forbidden", message);
  }
}

/** A request of more bytes than a message may have. Nothing was sent. */
export class FrameTooLarge extends LessSyncError {
  /**
   * @param {number} sizeBytes
   * @param {number} bytesMax
   */
  constructor(sizeBytes, bytesMax) {
    super("frame_too_large", `too large: ${sizeBytes} bytes, not ${bytesMax}`);
    this.sizeBytes = sizeBytes;
    this.bytesMax = bytesMax;
  }
}

/** The server has no file storage (docs/files.md). */
export class FilesNotServed extends LessSyncError {
  constructor() {
    super("files_not_served", "the server has no file storage");
  }
}

/** The token lacks the scope `files`. */
export class FilesScopeMissing extends LessSyncError {
  constructor() {
    super("files_scope_missing", "the token has no scope `files`");
  }
}

/** The server takes no file of this size. */
export class FileTooLarge extends LessSyncError {
  /** @param {string} error the server's words, or empty. */
  constructor(error) {
    super("file_too_large", `too large for the server${error && `: ${error}`}`);
    this.error = error;
  }
}

/** A request about a file was refused for what it asks. */
export class FileRefused extends LessSyncError {
  /**
   * @param {number} status of HTTP.
   * @param {string} error the server's words, or empty.
   */
  constructor(status, error) {
    super("file_refused", `the server refused the file (${status}${error && `: ${error}`})`);
    this.status = status;
    this.error = error;
  }
}

/** The address is another kind of server's, or frames came that break the protocol. */
export class NotThisProtocol extends LessSyncError {
  /**
   * @param {string} message
   * @param {{cause?: unknown}} [options]
   */
  constructor(message, options) {
    super("not_this_protocol", message, options);
  }
}

/** The client was closed while the call waited, or before it. */
export class ClientClosed extends LessSyncError {
  constructor() {
    super("closed", "the client is closed");
  }
}

/** Bytes that do not open: the key is missing, they are damaged, or somebody else sealed them. */
export class Undecryptable extends LessSyncError {
  /**
   * @param {string} message
   * @param {{cause?: unknown}} [options]
   */
  constructor(message, options) {
    super("undecryptable", message, options);
  }
}

/** The browser gives the local store no more room. */
export class QuotaExceeded extends LessSyncError {
  /**
   * @param {string} [message]
   * @param {{cause?: unknown}} [options]
   */
  constructor(message = "no room", options = undefined) {
    super("quota_exceeded", message, options);
  }
}

/** This client refuses to do it; `code` names the rule. */
export class Refused extends LessSyncError {}
