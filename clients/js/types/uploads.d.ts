/** @typedef {import("./kept.js").Upload} Upload */
/** @typedef {import("./rows.js").Content} Content */
/** Plaintext of a part: one is in memory, encrypted, while it is sent. */
export const PART_BYTES: number;
/** The server takes no parts of this size; smaller ones are to be tried. */
export class PartsTooLarge extends Error {
    /** @param {Upload} upload */
    constructor(upload: Upload);
    upload: import("./kept.js").Upload;
}
declare const Uploads_base: new <P>(parts: P) => Readonly<P>;
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
export class Uploads extends Uploads_base {
    constructor(parts: UploadsParts);
    partBytes: number;
    /**
     * The upload of a content: the one that was begun, else a new one, noted whole.
     *
     * @param {Content} content
     * @returns {Promise<Upload>}
     */
    begin({ digest, size }: Content): Promise<Upload>;
    /** @param {Upload} upload */
    sealContent({ record, size, digest, partBytes, parts }: Upload): Promise<import("./space_keys.js").Sealed>;
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
    send(upload: Upload, content: Content): Promise<boolean>;
    #private;
}
export type Upload = import("./kept.js").Upload;
export type Content = import("./rows.js").Content;
export type UploadsParts = {
    talk: import("./sending.js").Talk;
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    /**
     * has the newest key of a shared space; asked before each part
     */
    learn: () => Promise<void>;
};
export {};
