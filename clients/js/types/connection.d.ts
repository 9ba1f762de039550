/** The close code of a connection that ended without a close frame (RFC 6455, 7.1.5). */
export const NO_CLOSE_FRAME: 1006;
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
    /**
     * Begin to connect.
     *
     * @param {ConnectionOptions} options
     * @throws {NotThisProtocol} no WebSocket can have this address.
     */
    constructor({ url, WebSocket, clock, limits, onNotice }: ConnectionOptions);
    /**
     * How it ended; undefined while it has not.
     *
     * @type {LessSyncError | undefined}
     */
    end: LessSyncError | undefined;
    /** How it ended, once it has. @type {Promise<LessSyncError>} */
    ended: Promise<LessSyncError>;
    /**
     * Resolves when messages can be sent, or with the error if they never can.
     *
     * @type {Promise<LessSyncError | undefined>}
     */
    opened: Promise<LessSyncError | undefined>;
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
    call(method: string, params: unknown, shape: Shape, timeoutMs?: number): Promise<any>;
    /**
     * Send a request that is answered in chunks and yield them. Their count is checked at the end.
     *
     * @param {string} method
     * @param {unknown} params
     * @returns {AsyncGenerator<Chunk, void, void>}
     * @throws as `call`; RequestTimeout when no chunk comes for 30 s; StreamOverrun.
     */
    stream(method: string, params: unknown): AsyncGenerator<Chunk, void, void>;
    /**
     * Send a notification, which is never answered.
     *
     * @param {string} method
     * @param {unknown} params
     * @throws {FrameTooLarge | LessSyncError | import("./cbor.js").CborError} nothing was sent.
     */
    notify(method: string, params: unknown): void;
    /**
     * End the connection, if it has not ended: every call under way fails with `error`.
     *
     * @param {LessSyncError} error
     */
    fail(error: LessSyncError): void;
    #private;
}
export type Chunk = import("./chunks.js").Chunk;
export type Response = import("./chunks.js").Response;
export type Shape = import("./shapes.js").Shape;
export type ConnectionOptions = {
    /**
     * of the WebSocket route.
     */
    url: string;
    WebSocket: typeof globalThis.WebSocket;
    clock: import("./clock.js").Clock;
    limits: import("./limits.js").Limits;
    /**
     * in the order of arrival; must not throw.
     */
    onNotice: (method: string, params: unknown) => void;
};
/**
 * a request under way
 */
export type Exchange = {
    /**
     * what came for it.
     */
    take: (frame: Chunk | Response, sizeBytes: number) => void;
    /**
     * it: nothing more will come.
     */
    fail: (error: LessSyncError) => void;
};
import { LessSyncError } from "./errors.js";
