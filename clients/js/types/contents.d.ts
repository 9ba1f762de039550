/** Content of at most so many bytes is in its row. */
export const INLINE_BYTES_MAX: number;
/** Largest content: it is hashed, and given to the app, in one piece, as browsers do. */
export const CONTENT_BYTES_MAX: number;
export class Contents {
    /**
     * @param {import("./store.js").Store} store
     * @param {import("./rows.js").Keys} keys
     * @param {() => number} [now]  milliseconds since 1970
     */
    constructor(store: import("./store.js").Store, keys: import("./rows.js").Keys, now?: () => number);
    /**
     * Keep a content, in its row or apart. The next step that writes its row makes it stay.
     *
     * @param {Uint8Array | Blob} source
     * @param {number} mtime
     * @returns {Promise<Content>}
     * @throws {Refused} `too_large`
     * @throws {import("./errors.js").QuotaExceeded}
     */
    keep(source: Uint8Array | Blob, mtime: number): Promise<Content>;
    /**
     * Write one piece.
     *
     * @param {string} file
     * @param {number} index
     * @param {Uint8Array} piece
     * @param {Owned} [owned]  what is to be known of the content from then on
     */
    put(file: string, index: number, piece: Uint8Array, owned?: Owned): Promise<void>;
    /** @param {string} file @returns {Promise<Owned | undefined>} */
    owned(file: string): Promise<Owned | undefined>;
    /**
     * Walk the bytes of a content from one place to another.
     *
     * @param {Content} content
     * @param {number} [start]  a multiple of 1 MiB
     * @param {number} [end]
     * @returns {AsyncGenerator<Uint8Array, void, void>}
     * @throws {ContentMoved}
     */
    pieces({ bytes, file, size }: Content, start?: number, end?: number): AsyncGenerator<Uint8Array, void, void>;
    /**
     * @param {Content} content
     * @returns {Promise<Uint8Array>}
     * @throws {ContentMoved}
     */
    bytes(content: Content): Promise<Uint8Array>;
    /**
     * A content is on the server as well: when room is wanted it may go.
     *
     * @param {string} owner  id of its row
     * @param {string} file
     * @param {number} size  bytes
     */
    mayGo(owner: string, file: string, size: number): Promise<void>;
    /** Somebody looks at a content. @param {string} file */
    used(file: string): Promise<void>;
    /**
     * What may go, the least recently used first, beyond so many bytes.
     *
     * @param {number} bytesMax
     * @returns {Promise<{ file: string, owner: string }[]>}
     */
    excess(bytesMax: number): Promise<{
        file: string;
        owner: string;
    }[]>;
    /**
     * Remove a content. What a kill or a full store leaves is left to `sweep`: who asks has done something else, and
     * that is done.
     *
     * @param {string} file
     */
    drop(file: string): Promise<void>;
    /** Remove what no row shows. */
    sweep(): Promise<void>;
    #private;
}
/** A content was replaced or removed while it was read. */
export class ContentMoved extends Error {
    constructor();
}
export type Content = import("./rows.js").Content;
/**
 * What is known of a content that is kept apart.
 */
export type Owned = {
    /**
     * id of the row
     */
    owner?: string | undefined;
    /**
     * milliseconds since 1970: since when it is written, or when it was used last
     */
    at?: number | undefined;
    /**
     * bytes, of one that can be had from the server again
     */
    fetched?: number | undefined;
    /**
     * how many of a fetched one are here, until it is whole
     */
    pieces?: number | undefined;
};
