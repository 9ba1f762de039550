/**
 * What comes for a request.
 *
 * @typedef {{type: 1, result: unknown, error?: {code: string, message: string}}} Response
 * @typedef {{type: 3, name: string, data: unknown}} Chunk
 */
/**
 * Bounded by count and bytes. A WebSocket of the platform cannot be told to read no further, so a stream that
 * is taken too slowly fails, once what it has is taken, instead of growing.
 */
export class Chunks {
    /** @param {import("./limits.js").Limits} limits */
    constructor(limits: import("./limits.js").Limits);
    limits: Readonly<{
        frameBytes: number;
        openMs: number;
        requestMs: number;
        chunkIdleMs: number;
        silenceMs: number;
        chunksWaiting: number;
        chunkBytesWaiting: number;
        calls: number;
        sendBytesWaiting: number;
        backoffFirstMs: number;
        backoffMaxMs: number;
        backoffJitter: number;
        pullResumptions: number;
        settledMs: number;
        fileRequests: number;
        fileRequestsWaiting: number;
        fileIdleMs: number;
        uploadPerPieceMs: number;
        fileBytes: number;
    }>;
    /**
     * Add what came.
     *
     * @param {Chunk | Response} frame
     * @param {number} sizeBytes
     */
    take(frame: Chunk | Response, sizeBytes: number): void;
    /**
     * Nothing more will come.
     *
     * @param {import("./errors.js").LessSyncError} error
     */
    fail(error: import("./errors.js").LessSyncError): void;
    /**
     * The next one; undefined: it has not come yet.
     *
     * @throws what ended the stream, once everything before it was taken.
     */
    next(): Response | Chunk | undefined;
    /**
     * Wait until something came or the stream ended, but not longer than this.
     *
     * @param {import("./clock.js").Clock} clock
     * @param {number} ms
     * @returns {Promise<void>}
     */
    changed(clock: import("./clock.js").Clock, ms: number): Promise<void>;
    #private;
}
/**
 * What comes for a request.
 */
export type Response = {
    type: 1;
    result: unknown;
    error?: {
        code: string;
        message: string;
    };
};
/**
 * What comes for a request.
 */
export type Chunk = {
    type: 3;
    name: string;
    data: unknown;
};
