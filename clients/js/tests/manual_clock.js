/** A clock that stands still until a test moves it. */

/** @implements {import("../src/clock.js").Clock} */
export class ManualClock {
  #now = 0;
  /** @type {Map<object, {at: number, act: () => void}>} */
  #timers = new Map();

  now = () => this.#now;

  /** @param {() => void} act @param {number} ms */
  setTimeout = (act, ms) => {
    const timer = {};
    this.#timers.set(timer, { at: this.#now + ms, act });
    return timer;
  };

  /** @param {any} timer */
  clearTimeout = (timer) => void this.#timers.delete(timer);

  /** How long each timer still has, the shortest first. */
  get pending() {
    return [...this.#timers.values()].map(({ at }) => at - this.#now).sort((a, b) => a - b);
  }

  /**
   * Let time pass, and everything that was to happen in it.
   *
   * @param {number} ms
   */
  async advance(ms) {
    const end = this.#now + ms;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due[0]);
      this.#now = Math.max(this.#now, due[1].at);
      due[1].act();
      await settled();
    }
    this.#now = end;
    await settled();
  }
}

/** Let everything run that waits for nothing from outside. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));
