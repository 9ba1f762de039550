/** The server's file storage as a space uses it: whether there is one, and what its refusals mean. */

import {
  AccessLost, FileRefused, FilesNotServed, FilesScopeMissing, LessSyncError, NotThisProtocol,
} from "./errors.js";

const HOSTED_ELSEWHERE = "space is hosted on another server";

/** Files cannot be used; the message says why, as in "too large for a record, and ...". */
export class NoFileStorage extends LessSyncError {
  /** @param {string} message */
  constructor(message) {
    super("no_file_storage", message);
  }
}

/**
 * See the module. Nothing is asked beforehand, as browsers show every refusal to whoever looks at the console: that
 * there is none is learnt by the first upload.
 */
export class FileStorage {
  /** Why files cannot be sent, as far as is known; undefined when they can. @type {string | undefined} */
  trouble;

  /** There may be one by now. */
  hope() {
    this.trouble = undefined;
  }
}

/**
 * Tell what is refused for good from what a subscription has to tell.
 *
 * @template T
 * @param {() => Promise<T>} request
 * @returns {Promise<T>}
 * @throws {NoFileStorage} there is none, or something else answers, or the token is not for it
 * @throws {AccessLost} whether access is gone is asked elsewhere
 */
export async function refusals(request) {
  try {
    return await request();
  } catch (error) {
    // Not this protocol: a proxy that hands on the sync connection alone. Records go on without files.
    const without = [FilesNotServed, FilesScopeMissing, NotThisProtocol].some((kind) => error instanceof kind);
    if (without) throw new NoFileStorage(/** @type {Error} */ (error).message);
    if (!(error instanceof FileRefused)) throw error;
    if (error.error === HOSTED_ELSEWHERE) {
      throw new NoFileStorage("the space is hosted elsewhere");
    }
    if ([401, 403, 404].includes(error.status)) throw new AccessLost(error.message);
    throw error;
  }
}
