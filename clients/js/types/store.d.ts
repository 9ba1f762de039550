/**
 * Walk everything below a prefix, a page at a time. What changes meanwhile may be met or not.
 *
 * @param {Store} store
 * @param {string} prefix
 * @param {number} [page]  how many values are in memory at a time
 * @returns {AsyncGenerator<[string, any], void, void>}
 */
export function walk(store: Store, prefix: string, page?: number): AsyncGenerator<[string, any], void, void>;
/**
 * One value.
 *
 * @param {Store} store
 * @param {string} key
 * @returns {Promise<any>}
 */
export function readOne(store: Store, key: string): Promise<any>;
/**
 * A step that writes one value, whatever was there; undefined deletes it.
 *
 * @param {Store} store
 * @param {string} key
 * @param {any} value
 * @returns {Promise<void>}
 */
export function writeOne(store: Store, key: string, value: any): Promise<void>;
/**
 * Delete everything below a prefix, a page at a time.
 *
 * @param {Store} store
 * @param {string} prefix
 * @returns {Promise<void>}
 */
export function clear(store: Store, prefix: string): Promise<void>;
/**
 * What keeps a replica between two visits of an app: a small ordered map whose steps are whole or not at all.
 *
 * Everything above it is the same in a browser (`IndexedDbStore`) and in Node (`MemoryStore`). A step reads some
 * values, decides synchronously and writes: in IndexedDB that is one transaction, so two tabs of a browser cannot
 * come in between, and a tab that is killed leaves the state before the step or the one after it.
 */
/**
 * Values are whatever can be cloned structurally: plain data, `Uint8Array`, `CryptoKey`. Keys are text of at most
 * 4 KiB, in the order of their UTF-16 code units.
 *
 * @typedef {object} Store
 * @property {string} name  stores of one name are the same one, in every tab; empty: nobody else can have it
 * @property {(keys: readonly string[]) => Promise<any[]>} read  the values of some keys, as they were in one
 *   moment; undefined for those that are not there
 * @property {(prefix: string, options?: ListOptions) => Promise<[string, any][]>} list  what is below a prefix
 * @property {<T>(keys: readonly string[], change: Change<T>) => Promise<T>} update  one step; rejects with
 *   `QuotaExceeded` when there is no room, and with whatever `change` throws: nothing is written then
 * @property {() => void} close  no call may follow
 */
/**
 * One step: gets the values of the step's keys and calls `write` for each that is to be another one (undefined
 * deletes; also of keys that were not read). It must not wait for anything, and may run more than once.
 *
 * @template T
 * @typedef {(values: any[], write: (key: string, value: any) => void) => T} Change
 */
/**
 * @typedef {object} ListOptions
 * @property {string} [after]  only keys after this one
 * @property {number} [limit]  at most so many; 256 if it is not said
 */
export const LIST_MAX: 256;
/**
 * A store in memory, for Node and for tests. Values are cloned on the way in and out, as a disk would.
 *
 * @implements {Store}
 */
export class MemoryStore implements Store {
    /**
     * @param {object} [options]
     * @param {Map<string, any>} [options.values]  what was kept before; a second store over the same map is what a
     *   restarted process or a second tab sees
     * @param {string} [options.name]
     */
    constructor({ values, name }?: {
        values?: Map<string, any> | undefined;
        name?: string | undefined;
    });
    values: Map<string, any>;
    name: string;
    /** @param {readonly string[]} keys */
    read(keys: readonly string[]): Promise<any[]>;
    /**
     * @param {string} prefix
     * @param {ListOptions} [options]
     * @returns {Promise<[string, any][]>}
     */
    list(prefix: string, { after, limit }?: ListOptions): Promise<[string, any][]>;
    /**
     * @template T
     * @param {readonly string[]} keys
     * @param {Change<T>} change
     * @returns {Promise<T>}
     */
    update<T>(keys: readonly string[], change: Change<T>): Promise<T>;
    /** Nothing is held. */
    close(): void;
}
/**
 * Values are whatever can be cloned structurally: plain data, `Uint8Array`, `CryptoKey`. Keys are text of at most
 * 4 KiB, in the order of their UTF-16 code units.
 */
export type Store = {
    /**
     * stores of one name are the same one, in every tab; empty: nobody else can have it
     */
    name: string;
    /**
     * the values of some keys, as they were in one
     * moment; undefined for those that are not there
     */
    read: (keys: readonly string[]) => Promise<any[]>;
    /**
     * what is below a prefix
     */
    list: (prefix: string, options?: ListOptions) => Promise<[string, any][]>;
    /**
     * one step; rejects with
     * `QuotaExceeded` when there is no room, and with whatever `change` throws: nothing is written then
     */
    update: <T>(keys: readonly string[], change: Change<T>) => Promise<T>;
    /**
     * no call may follow
     */
    close: () => void;
};
/**
 * One step: gets the values of the step's keys and calls `write` for each that is to be another one (undefined
 * deletes; also of keys that were not read). It must not wait for anything, and may run more than once.
 */
export type Change<T> = (values: any[], write: (key: string, value: any) => void) => T;
export type ListOptions = {
    /**
     * only keys after this one
     */
    after?: string | undefined;
    /**
     * at most so many; 256 if it is not said
     */
    limit?: number | undefined;
};
