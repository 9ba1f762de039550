/**
 * Tell what is refused for good from what a subscription has to tell.
 *
 * @template T
 * @param {() => Promise<T>} request
 * @returns {Promise<T>}
 * @throws {NoFileStorage} there is none, or something else answers, or the token is not for it
 * @throws {AccessLost} whether access is gone is asked elsewhere
 */
export function refusals<T>(request: () => Promise<T>): Promise<T>;
/** Files cannot be used; the message says why, as in "too large for a record, and ...". */
export class NoFileStorage extends LessSyncError {
    /** @param {string} message */
    constructor(message: string);
}
/** See the module. */
export class FileStorage {
    /** @param {import("./sending.js").Talk} talk */
    constructor(talk: import("./sending.js").Talk);
    talk: import("./sending.js").Talk;
    /**
     * Why files cannot be sent; undefined when they can. Once they could, the server is not asked again.
     *
     * @returns {Promise<string | undefined>}
     */
    trouble(): Promise<string | undefined>;
    #private;
}
import { LessSyncError } from "./errors.js";
