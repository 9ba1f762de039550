/**
 * Large contents out: their parts, encrypted as they are sent.
 *
 *     begin -> the content record is pushed -> send -> the record of a path is pushed that points to it
 *
 * Everything random of a part is in the store before its first byte leaves: a repetition sends the same bytes, so
 * that whichever attempt the server keeps is the right one. A kept content never changes, and an upload is found
 * by its SHA-256, so the same key and nonce never meet another plaintext.
 */

import { fromHex, randomBytes, randomUuid } from "./bytes.js";
import { FileRefused, FileTooLarge } from "./errors.js";
import { refusals } from "./file_storage.js";
import { MadeOf } from "./made_of.js";
import { CHUNK_BYTES, NONCE_BYTES, sealPart } from "./parts.js";
import { PART_BYTES_MIN, encodeContent, partCount } from "./plaintext.js";

/** @typedef {import("./kept.js").Upload} Upload */
/** @typedef {import("./rows.js").Content} Content */

/** Plaintext of a part: one is in memory, encrypted, while it is sent. */
export const PART_BYTES = 8 * 1024 * 1024;

/** The server takes no parts of this size; smaller ones are to be tried. */
export class PartsTooLarge extends Error {
  /** @param {Upload} upload */
  constructor(upload) {
    super("too large for the server");
    this.upload = upload;
  }
}

/**
 * @typedef {object} UploadsParts
 * @property {import("./sending.js").Talk} talk
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {() => Promise<void>} learn  has the newest key of a shared space; asked before each part
 */

/**
 * See the module.
 *
 * @extends {MadeOf<UploadsParts>}
 */
export class Uploads extends MadeOf {
  partBytes = PART_BYTES;

  /**
   * The upload of a content: the one that was begun, else a new one, noted whole.
   *
   * @param {Content} content
   * @returns {Promise<Upload>}
   */
  async begin({ digest, size }) {
    const found = (await this.kept.uploads()).find((one) => one.digest === digest);
    if (found) return found;
    const parts = [];
    for (let count = partCount(size, this.partBytes); count > 0; count--) {
      const dek = await this.keys.newDek(this.talk.epoch);
      parts.push({ id: randomUuid(), dek, nonce: randomBytes(NONCE_BYTES), done: false });
    }
    const upload = { record: randomUuid(), digest, size, partBytes: this.partBytes, parts, cursor: null };
    await this.kept.putUpload(upload);
    return upload;
  }

  /** @param {Upload} upload */
  sealContent({ record, size, digest, partBytes, parts }) {
    const plain = { size, digest: fromHex(digest), partBytes, parts: parts.map((part) => part.id) };
    return this.keys.seal(record, encodeContent(plain), this.talk.epoch);
  }

  /**
   * Send the parts that the server is not known to have. False when its content record is gone: a pull tells.
   *
   * @param {Upload} upload
   * @param {Content} content
   * @returns {Promise<boolean>}
   * @throws {PartsTooLarge}
   * @throws {import("./contents.js").ContentMoved}
   * @throws {import("./file_storage.js").NoFileStorage}
   */
  async send(upload, content) {
    for (const [number, part] of upload.parts.entries()) {
      if (part.done) continue;
      // Of parts the server takes old keys too: a rotation meanwhile shows in nothing else.
      await this.learn();
      if (!(await this.#sendPart(upload, number, part, content))) return false;
      await this.kept.partSent(upload.record, number);
    }
    return true;
  }

  /**
   * @param {Upload} upload
   * @param {number} number
   * @param {Upload["parts"][number]} part
   * @param {Content} content
   */
  async #sendPart({ record, partBytes, size, ...rest }, number, part, content) {
    const { client, space, ucan, epoch } = this.talk;
    const start = number * partBytes;
    const end = Math.min(start + partBytes, size);
    const key = await this.keys.unwrap(part.dek);
    const place = { space, content: record, part: part.id };
    const plain = this.kept.contents.pieces(content, start, end);
    const pieces = [];
    for await (const piece of sealPart(key, part.nonce, place, end - start, plain)) pieces.push(piece);
    try {
      const dek = await this.keys.rewrap(part.dek, epoch);
      const body = new Blob(/** @type {any} */ (pieces));
      await refusals(async () => client.files.put(space, part.id, { record, dek, body, ucan: await ucan() }));
    } catch (error) {
      if (error instanceof FileTooLarge && this.#smaller(error, partBytes)) {
        throw new PartsTooLarge({ record, partBytes, size, ...rest });
      }
      if (error instanceof FileRefused && error.status === 400 && /record not found/.test(error.error)) return false;
      throw error;
    }
    return true;
  }

  /** Go on with parts that fit, if the server says how much it takes. */
  #smaller(/** @type {FileTooLarge} */ error, /** @type {number} */ partBytes) {
    const megabytes = Number(/\b([0-9]{1,6}) MB\b/.exec(error.error)?.[1] ?? 0);
    const fitting = (megabytes - 1) * CHUNK_BYTES; // a chunk less, for what encryption adds
    if (fitting < PART_BYTES_MIN || fitting >= partBytes) return false;
    this.partBytes = Math.min(this.partBytes, fitting);
    return true;
  }
}
