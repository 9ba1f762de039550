/**
 * See the module. What was written survives a tab and a browser that are killed; a power cut may take back the
 * last moments, as browsers do not wait for the disk, and leaves the state after an earlier step.
 *
 * @implements {Store}
 */
export class IndexedDbStore implements Store {
    /** @param {string} name */
    constructor(name: string);
    name: string;
    /**
     * @param {readonly string[]} keys
     * @returns {Promise<any[]>}
     */
    read(keys: readonly string[]): Promise<any[]>;
    /**
     * @param {string} prefix
     * @param {import("./store.js").ListOptions} [options]
     * @returns {Promise<[string, any][]>}
     */
    list(prefix: string, { after, limit }?: import("./store.js").ListOptions): Promise<[string, any][]>;
    /**
     * @template T
     * @param {readonly string[]} keys
     * @param {import("./store.js").Change<T>} change
     * @returns {Promise<T>}
     */
    update<T>(keys: readonly string[], change: import("./store.js").Change<T>): Promise<T>;
    /** Nothing may follow. */
    close(): void;
    #private;
}
export type Store = import("./store.js").Store;
