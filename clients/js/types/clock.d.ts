/**
 * Wait, but no longer than until somebody calls what `hand` is given.
 *
 * @param {Clock} clock
 * @param {number} ms
 * @param {(wake: () => void) => void} hand
 * @returns {Promise<void>}
 */
export function rest(clock: Clock, ms: number, hand: (wake: () => void) => void): Promise<void>;
/**
 * The outcome of `promise`, or a rejection with `late()` if there is none in time.
 *
 * @template T
 * @param {Clock} clock
 * @param {number} ms
 * @param {Promise<T>} promise goes on by itself when it is late; then nobody hears how it ends.
 * @param {() => Error} late
 * @returns {Promise<T>}
 */
export function within<T>(clock: Clock, ms: number, promise: Promise<T>, late: () => Error): Promise<T>;
/**
 * Time as this library takes it: replaced by tests.
 *
 * @typedef {object} Clock
 * @property {() => number} now milliseconds since any moment; never goes back.
 * @property {(act: () => void, ms: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 */
/** @type {Clock} */
export const systemClock: Clock;
/**
 * Time as this library takes it: replaced by tests.
 */
export type Clock = {
    /**
     * milliseconds since any moment; never goes back.
     */
    now: () => number;
    setTimeout: (act: () => void, ms: number) => unknown;
    clearTimeout: (timer: any) => void;
};
