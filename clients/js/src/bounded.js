/**
 * A map that forgets what was longest not asked for: for what is derived again at the price of time.
 *
 * @template K, V
 */
export class Bounded {
  /** @type {Map<K, V>} */
  #kept = new Map();
  #entriesMax;

  /** @param {number} entriesMax */
  constructor(entriesMax) {
    this.#entriesMax = entriesMax;
  }

  get size() {
    return this.#kept.size;
  }

  /**
   * @param {K} key
   * @returns {V | undefined}
   */
  get(key) {
    const value = this.#kept.get(key);
    if (value === undefined) return undefined;
    this.#kept.delete(key);
    this.#kept.set(key, value);
    return value;
  }

  /**
   * @param {K} key
   * @param {V} value
   * @returns {V} the value
   */
  set(key, value) {
    this.#kept.delete(key);
    this.#kept.set(key, value);
    for (const [oldest] of this.#kept) {
      if (this.#kept.size <= this.#entriesMax) break;
      this.#kept.delete(oldest);
    }
    return value;
  }

  /** @param {K} key */
  delete(key) {
    this.#kept.delete(key);
  }
}
