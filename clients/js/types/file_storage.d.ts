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
/**
 * See the module. Nothing is asked beforehand, as browsers show every refusal to whoever looks at the console: that
 * there is none is learnt by the first upload.
 */
export class FileStorage {
    /** Why files cannot be sent, as far as is known; undefined when they can. @type {string | undefined} */
    trouble: string | undefined;
    /** There may be one by now. */
    hope(): void;
}
import { LessSyncError } from "./errors.js";
