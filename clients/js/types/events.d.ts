/** Listeners of named events. */
/**
 * @template {Record<string, any[]>} E the events, and what their listeners are called with.
 */
export class Emitter<E extends Record<string, any[]>> {
    /** @param {(error: unknown) => void} [report] is told of what listeners throw, or reject with. */
    constructor(report?: (error: unknown) => void);
    /**
     * Call `listener` at each event of this name, in the order in which listeners were added.
     *
     * @template {keyof E} N
     * @param {N} name
     * @param {(...values: E[N]) => unknown} listener
     * @returns {() => void} to listen no more; may be called again.
     */
    on<N extends keyof E>(name: N, listener: (...values: E[N]) => unknown): () => void;
    /**
     * Tell all who listen now. A listener that fails keeps nobody else from hearing of it.
     *
     * @template {keyof E} N
     * @param {N} name
     * @param {E[N]} values
     */
    emit<N extends keyof E>(name: N, ...values: E[N]): void;
    #private;
}
