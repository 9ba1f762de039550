/**
 * What is used of the module "yjs", 13.6 or newer.
 *
 * @typedef {object} YjsModule
 * @property {(ydoc: any, update: Uint8Array, origin?: any) => void} applyUpdate
 * @property {(updates: Uint8Array[]) => Uint8Array} mergeUpdates
 * @property {(update: Uint8Array, stateVector: Uint8Array) => Uint8Array} diffUpdate
 * @property {(ydoc: any, stateVector?: Uint8Array) => Uint8Array} encodeStateAsUpdate
 * @property {(update: Uint8Array) => Uint8Array} encodeStateVectorFromUpdate
 */
/**
 * @typedef {object} YjsDocument  a `Y.Doc`
 * @property {(event: "update", listener: (update: Uint8Array, origin: any) => void) => any} on
 * @property {(event: "update", listener: (update: Uint8Array, origin: any) => void) => any} off
 */
/**
 * @typedef {object} YjsOptions
 * @property {YjsModule} Y  the module that `ydoc` is made with
 * @property {(error: unknown) => void} [onError]  an entry that is no update of Yjs, or a write that failed (it is
 *   tried again); without it errors go to the console
 * @property {() => number} [now]  milliseconds since 1970
 */
/**
 * Keep a Yjs document and the entries below `PATH.yjs/` of a space in agreement.
 *
 * @param {import("./space.js").Space} space
 * @param {string} path  of the document; it needs no entry of its own
 * @param {YjsDocument} ydoc  what it holds already is written too
 * @param {YjsOptions} options
 * @returns {YjsBinding}
 */
export function bindYjs(space: import("./space.js").Space, path: string, ydoc: YjsDocument, options: YjsOptions): YjsBinding;
/** How long edits are gathered before they are written. */
export const WRITE_AFTER_MS: 300;
/** Changes of all devices that no snapshot has: beyond, whoever writes next writes a snapshot. */
export const CHANGES_BYTES_MAX: number;
/** A document whose whole state is larger is not written any more (`document_too_large`). */
export const DOCUMENT_BYTES_MAX: number;
/** Entries of a device that has written nothing for so long are deleted once a snapshot has what they say. */
export const GONE_AFTER_MS: number;
/** What failed to be written is tried again, later each time up to this. */
export const RETRY_MS_MAX: 30000;
/**
 * An entry as it was read.
 *
 * @typedef {object} Known
 * @property {string} digest  of its bytes
 * @property {Uint8Array | undefined} update  undefined: it is no update of Yjs
 * @property {number} mtime  milliseconds since 1970
 */
/** A document that is bound; `bindYjs` makes it. */
export class YjsBinding {
    /**
     * @param {import("./space.js").Space} space
     * @param {string} path
     * @param {YjsDocument} ydoc
     * @param {YjsOptions} options
     */
    constructor(space: import("./space.js").Space, path: string, ydoc: YjsDocument, { Y, onError, now }: YjsOptions);
    /**
     * Resolves when the document has all that was in the space, on the server too: offline that is later. Rejects as
     * `space.settled()` does, with what will not pass by itself.
     *
     * @type {Promise<void>}
     */
    synced: Promise<void>;
    /**
     * Write what was edited and is not written yet, without waiting for the 300 ms. A page does so by itself when it
     * is hidden.
     *
     * @returns {Promise<void>} resolves when it is kept on this device, or was reported to `onError`
     */
    flush(): Promise<void>;
    /**
     * Write what is left and let go of document and space.
     *
     * @returns {Promise<void>}
     */
    destroy(): Promise<void>;
    #private;
}
/**
 * What is used of the module "yjs", 13.6 or newer.
 */
export type YjsModule = {
    applyUpdate: (ydoc: any, update: Uint8Array, origin?: any) => void;
    mergeUpdates: (updates: Uint8Array[]) => Uint8Array;
    diffUpdate: (update: Uint8Array, stateVector: Uint8Array) => Uint8Array;
    encodeStateAsUpdate: (ydoc: any, stateVector?: Uint8Array) => Uint8Array;
    encodeStateVectorFromUpdate: (update: Uint8Array) => Uint8Array;
};
/**
 * a `Y.Doc`
 */
export type YjsDocument = {
    on: (event: "update", listener: (update: Uint8Array, origin: any) => void) => any;
    off: (event: "update", listener: (update: Uint8Array, origin: any) => void) => any;
};
export type YjsOptions = {
    /**
     * the module that `ydoc` is made with
     */
    Y: YjsModule;
    /**
     * an entry that is no update of Yjs, or a write that failed (it is
     * tried again); without it errors go to the console
     */
    onError?: ((error: unknown) => void) | undefined;
    /**
     * milliseconds since 1970
     */
    now?: (() => number) | undefined;
};
/**
 * An entry as it was read.
 */
export type Known = {
    /**
     * of its bytes
     */
    digest: string;
    /**
     * undefined: it is no update of Yjs
     */
    update: Uint8Array | undefined;
    /**
     * milliseconds since 1970
     */
    mtime: number;
};
