/** Bounds of a client. The deadlines are those all clients of this protocol use (docs/protocol.md 13.2). */

/** @typedef {Readonly<typeof LIMITS>} Limits */

export const LIMITS = {
  /** A message, in either direction; a larger push is split (`splitChanges`). */
  frameBytes: 4 * 1024 * 1024,
  /** Until a WebSocket is open. */
  openMs: 10_000,
  /** For a token, and for an answer; a call waits as long for a connection. */
  requestMs: 30_000,
  /** Between two chunks of a connection, while a stream waits for one. */
  chunkIdleMs: 30_000,
  /** Without a byte from the server, which sends one every 30 s: the connection is dead. */
  silenceMs: 75_000,
  /**
   * Of one stream, waiting for whoever asked for it: beyond it the stream fails. It is more than a push can
   * have, and than a platform hands over at once: so a pull that is asked for again gets on.
   */
  chunksWaiting: 131_072,
  chunkBytesWaiting: 64 * 1024 * 1024,
  /** Requests under way on a connection, and bytes that wait to be sent: beyond it calls fail. */
  calls: 4096,
  sendBytesWaiting: 64 * 1024 * 1024,
  backoffFirstMs: 1000,
  backoffMaxMs: 30_000,
  /** Up to so much of the wait is added to it at random. */
  backoffJitter: 0.3,
  /** A pull goes on after so many losses in a row without a new entry. */
  pullResumptions: 8,
  /** A connection that lived so long is replaced at once when its token expired (4001). */
  settledMs: 5000,
  /** Requests about files at a time, and those that wait for their turn. */
  fileRequests: 6,
  fileRequestsWaiting: 1024,
  /** Of a request about a file: for an answer, and between two pieces of it. */
  fileIdleMs: 60_000,
  /** An upload has this for each 16 KiB more: a browser does not tell how far it has come. */
  uploadPerPieceMs: 1000,
  /** A file that is read into memory. */
  fileBytes: 128 * 1024 * 1024,
};
