/** Listeners of named events. */

/**
 * @template {Record<string, any[]>} E the events, and what their listeners are called with.
 */
export class Emitter {
  /** @type {Map<keyof E, Set<(...values: any[]) => unknown>>} */
  #listeners = new Map();
  #report;

  /** @param {(error: unknown) => void} [report] is told of what listeners throw, or reject with. */
  constructor(report = (error) => console.error("less-sync: a listener failed", error)) {
    this.#report = report;
  }

  /**
   * Call `listener` at each event of this name, in the order in which listeners were added.
   *
   * @template {keyof E} N
   * @param {N} name
   * @param {(...values: E[N]) => unknown} listener
   * @returns {() => void} to listen no more; may be called again.
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // A wrapper of its own for each call: one function may listen twice, and be taken away once.
    const entry = (/** @type {E[N]} */ ...values) => listener(...values);
    listeners.add(entry);
    return () => {
      listeners.delete(entry);
    };
  }

  /**
   * Tell all who listen now. A listener that fails keeps nobody else from hearing of it.
   *
   * @template {keyof E} N
   * @param {N} name
   * @param {E[N]} values
   */
  emit(name, ...values) {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        const result = listener(...values);
        if (result instanceof Promise) result.catch(this.#report);
      } catch (error) {
        this.#report(error);
      }
    }
  }
}
