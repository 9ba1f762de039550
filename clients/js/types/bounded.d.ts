/**
 * A map that forgets what was longest not asked for: for what is derived again at the price of time.
 *
 * @template K, V
 */
export class Bounded<K, V> {
    /** @param {number} entriesMax */
    constructor(entriesMax: number);
    get size(): number;
    /**
     * @param {K} key
     * @returns {V | undefined}
     */
    get(key: K): V | undefined;
    /**
     * @param {K} key
     * @param {V} value
     * @returns {V} the value
     */
    set(key: K, value: V): V;
    /** @param {K} key */
    delete(key: K): void;
    #private;
}
