/**
 * Time as this library takes it: replaced by tests.
 *
 * @typedef {object} Clock
 * @property {() => number} now milliseconds since any moment; never goes back.
 * @property {(act: () => void, ms: number) => unknown} setTimeout
 * @property {(timer: any) => void} clearTimeout
 */

/** @type {Clock} */
export const systemClock = {
  now: () => performance.now(),
  setTimeout: (act, ms) => setTimeout(act, ms),
  clearTimeout: (timer) => clearTimeout(timer),
};

/**
 * Wait, but no longer than until somebody calls what `hand` is given.
 *
 * @param {Clock} clock
 * @param {number} ms
 * @param {(wake: () => void) => void} hand
 * @returns {Promise<void>}
 */
export async function rest(clock, ms, hand) {
  let timer;
  await /** @type {Promise<void>} */ (
    new Promise((resolve) => {
      timer = clock.setTimeout(resolve, ms);
      hand(resolve);
    })
  );
  clock.clearTimeout(timer);
}

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
export function within(clock, ms, promise, late) {
  return new Promise((resolve, reject) => {
    const timer = clock.setTimeout(() => reject(late()), ms);
    promise.then(resolve, reject).finally(() => clock.clearTimeout(timer));
  });
}
