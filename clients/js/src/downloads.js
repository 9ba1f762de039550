/**
 * Large contents in: fetched when an app asks for them, and kept as long as there is room.
 *
 * Each piece is in the store before the next one is asked for, so a download that broke goes on with the first
 * part that is not whole. Only a content of the right size and SHA-256 is shown.
 */

import { concat, hex, sha256 } from "./bytes.js";
import { CONTENT_BYTES_MAX } from "./contents.js";
import { LessSyncError, Undecryptable } from "./errors.js";
import { refusals } from "./file_storage.js";
import { MadeOf } from "./made_of.js";
import { CHUNK_BYTES as PIECE_BYTES, openPart, sealedSize } from "./parts.js";
import { isHere } from "./rows.js";

/** @typedef {import("./rows.js").Row} Row */
/** @typedef {import("./kept.js").KnownContent} KnownContent */

/** So many bytes of what can be fetched again stay on this device. */
export const CACHE_BYTES_MAX = 256 * 1024 * 1024;

/** A large content cannot be had now; the message says why. `code` is `not_fetched`. */
export class NotFetched extends LessSyncError {
  /** @param {string} path @param {string} why */
  constructor(path, why) {
    super("not_fetched", `${path}: ${why}`);
  }
}

/**
 * @typedef {object} DownloadsParts
 * @property {import("./sending.js").Talk} talk
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {() => Promise<void>} learn  has the keys of a shared space
 */

/**
 * See the module.
 *
 * @extends {MadeOf<DownloadsParts>}
 */
export class Downloads extends MadeOf {
  /** @type {Map<string, Promise<void>>} */
  #underWay = new Map();

  /**
   * Have the content of a row here. Who asks twice waits for the same download.
   *
   * @param {Row} row
   * @returns {Promise<void>}
   * @throws {NotFetched}
   * @throws {import("./errors.js").QuotaExceeded}  what is here stays, and the next attempt goes on with it
   */
  fetch(row) {
    const from = row.local?.from ?? "";
    let found = this.#underWay.get(from);
    if (!found) {
      found = this.#fetch(row, from).finally(() => this.#underWay.delete(from));
      this.#underWay.set(from, found);
    }
    return found;
  }

  /** @param {Row} row @param {string} from  the content record, which also names the content in the store */
  async #fetch(row, from) {
    const known = await this.kept.content(from);
    if (!known) throw new NotFetched(row.path, "not on the server");
    if (known.size !== row.local?.size || known.digest !== row.local.digest) {
      throw new NotFetched(row.path, "not its content");
    }
    if (known.size > CONTENT_BYTES_MAX) throw new NotFetched(row.path, "too large");
    const perPart = known.partBytes / PIECE_BYTES;
    const begun = (await this.kept.contents.owned(from))?.pieces ?? 0;
    // Parts of no whole number of pieces are put together anew: where one ends, no piece does.
    const first = Number.isInteger(perPart) ? Math.floor(begun / perPart) : 0;
    let index = Number.isInteger(perPart) ? first * perPart : 0;
    for await (const piece of regular(this.#parts(row.path, from, known, first))) {
      const owned = { owner: row.id, at: Date.now(), fetched: known.size, pieces: index + 1 };
      await this.kept.contents.put(from, index, piece, owned);
      index += 1;
    }
    await this.#check(row, from);
    await this.#show(row, from);
  }

  /**
   * The plaintext of the parts from one on.
   *
   * @param {string} path
   * @param {string} record
   * @param {KnownContent} known
   * @param {number} first
   */
  async *#parts(path, record, { size, partBytes, parts }, first) {
    const { client, space, ucan } = this.talk;
    for (const [number, part] of parts.entries()) {
      if (number < first) continue;
      const bytes = Math.min(partBytes, size - number * partBytes);
      const bytesMax = sealedSize(bytes);
      const found = await refusals(async () => client.files.get(space, part, { ucan: await ucan(), bytesMax }));
      if (!found) throw new NotFetched(path, "a part is not on the server");
      if (found.body.length !== bytesMax) throw new NotFetched(path, "a part has another size");
      try {
        yield* openPart(await this.#unwrap(found.dek), { space, content: record, part }, bytes, [found.body]);
      } catch (error) {
        if (!(error instanceof Undecryptable)) throw error;
        throw new NotFetched(path, "a part does not decrypt");
      }
    }
  }

  /** @param {Uint8Array} dek */
  async #unwrap(dek) {
    try {
      return await this.keys.unwrap(dek);
    } catch (error) {
      if (!(error instanceof Undecryptable)) throw error;
      await this.learn();
      return this.keys.unwrap(dek);
    }
  }

  /** @param {Row} row @param {string} file */
  async #check(row, file) {
    const content = /** @type {import("./rows.js").Content} */ (row.local);
    const bytes = await this.kept.contents.bytes({ ...content, file });
    if (hex(await sha256(bytes)) === content.digest) return;
    await this.kept.contents.drop(file);
    throw new NotFetched(row.path, "not its content");
  }

  /** Show a content that is whole, and let others go if there are too many. @param {Row} row @param {string} file */
  async #show({ id, path, local }, file) {
    const shown = await this.kept.change([id], (rows) => {
      const now = /** @type {Row} */ (rows.get(id));
      if (now.local?.digest !== local?.digest || now.local?.from !== file) return false;
      if (!isHere(now.local)) rows.set(id, { ...now, local: { ...now.local, file } });
      return true;
    });
    if (!shown) {
      await this.kept.contents.drop(file);
      throw new NotFetched(path, "it was replaced");
    }
    await this.kept.contents.mayGo(id, file, local?.size ?? 0);
    await this.#makeRoom(file);
  }

  /**
   * Let go what was fetched beyond the bound.
   *
   * @param {string} [but]  what is to stay
   */
  async #makeRoom(but) {
    for (const { file, owner } of await this.kept.contents.excess(CACHE_BYTES_MAX)) {
      if (file === but) continue;
      await this.kept.change([owner], (rows) => {
        const row = /** @type {Row} */ (rows.get(owner));
        const { local, base } = row;
        // Only what both sides have can be had again.
        if (local?.file !== file || local.from === undefined || base?.digest !== local.digest) return;
        const { file: _, ...rest } = local;
        rows.set(owner, { ...row, local: rest });
      });
    }
  }
}

/**
 * The same bytes in pieces of 1 MiB; the last one has the rest.
 *
 * @param {AsyncIterable<Uint8Array>} source
 * @returns {AsyncGenerator<Uint8Array, void, void>}
 */
async function* regular(source) {
  /** @type {Uint8Array} */
  let rest = new Uint8Array();
  for await (const piece of source) {
    rest = rest.length === 0 ? piece : concat(rest, piece);
    for (; rest.length >= PIECE_BYTES; rest = rest.subarray(PIECE_BYTES)) yield rest.slice(0, PIECE_BYTES);
  }
  if (rest.length > 0) yield rest;
}
