export class HttpFiles {
    /**
     * @param {{base: string, tokens: import("./tokens.js").Tokens, fetch: typeof globalThis.fetch,
     *   clock: import("./clock.js").Clock, limits: import("./limits.js").Limits}} options
     */
    constructor(options: {
        base: string;
        tokens: import("./tokens.js").Tokens;
        fetch: typeof globalThis.fetch;
        clock: import("./clock.js").Clock;
        limits: import("./limits.js").Limits;
    });
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
    put(space: string, file: string, { record, dek, body, ucan }: {
        record: string;
        dek: Uint8Array;
        body: Uint8Array | Blob;
    } & Access): Promise<"stored" | "present">;
    /**
     * Fetch a file into memory; undefined: there is none.
     *
     * @param {string} space
     * @param {string} file
     * @param {Access & {bytesMax?: number}} [options] a larger file is a NotThisProtocol; 128 MiB unless said.
     * @returns {Promise<{dek: Bytes, body: Bytes} | undefined>}
     * @throws as `put`.
     */
    get(space: string, file: string, { ucan, bytesMax }?: Access & {
        bytesMax?: number;
    }): Promise<{
        dek: Bytes;
        body: Bytes;
    } | undefined>;
    /**
     * What the server knows of a file, without its content; undefined: there is none.
     *
     * @param {string} space
     * @param {string} file
     * @param {Access} [options]
     * @returns {Promise<{dek: Bytes, size: number} | undefined>}
     * @throws as `put`.
     */
    head(space: string, file: string, { ucan }?: Access): Promise<{
        dek: Bytes;
        size: number;
    } | undefined>;
    /**
     * End all transfers; they and later ones fail with this, until `resume`.
     *
     * @param {LessSyncError} error
     */
    stop(error: LessSyncError): void;
    /** Take requests again. */
    resume(): void;
    #private;
}
export type Bytes = import("./bytes.js").Bytes;
export type Access = {
    ucan?: string;
};
export type Request = {
    method: string;
    path: string;
    headers: Record<string, string>;
    body?: Blob;
};
/**
 * its signal's reason is why it ended.
 */
export type Transfer = {
    abort: AbortController;
    timer?: unknown;
};
import { LessSyncError } from "./errors.js";
