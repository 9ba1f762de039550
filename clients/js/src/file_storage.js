/** The server's file storage as a space uses it: whether there is one, and what its refusals mean. */

import { randomUuid } from "./bytes.js";
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

/** See the module. */
export class FileStorage {
  #usable = false;

  /** @param {import("./sending.js").Talk} talk */
  constructor(talk) {
    this.talk = talk;
  }

  /**
   * Why files cannot be sent; undefined when they can. Once they could, the server is not asked again.
   *
   * @returns {Promise<string | undefined>}
   */
  async trouble() {
    if (this.#usable) return undefined;
    const { client, space, ucan } = this.talk;
    try {
      await refusals(async () => client.files.head(space, randomUuid(), { ucan: await ucan() }));
    } catch (error) {
      if (error instanceof NoFileStorage) return error.message;
      throw error;
    }
    this.#usable = true;
    return undefined;
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
    if (error instanceof FilesNotServed) throw new NoFileStorage("the server has no file storage");
    if (error instanceof FilesScopeMissing) throw new NoFileStorage("the token has no scope `files`");
    // A proxy that hands on the sync connection alone: records go on without files.
    if (error instanceof NotThisProtocol) throw new NoFileStorage(error.message);
    if (!(error instanceof FileRefused)) throw error;
    if (error.error === HOSTED_ELSEWHERE) {
      throw new NoFileStorage("your server does not pass it on between you and the space's home");
    }
    if ([401, 403, 404].includes(error.status)) throw new AccessLost(error.message);
    throw error;
  }
}
