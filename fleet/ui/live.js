/** Asks again and again while somebody looks, more rarely while there is no answer. */

export const EVERY_MS = 5000;
const WAITS_MS = [5000, 10000, 20000, 40000, 60000];

/** One page's figures, from when it is opened until it is left. */
export class Live {
  #stopped = new AbortController();
  #failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #asking = false;
  #again = false;

  /**
   * @param {(signal: AbortSignal) => Promise<any>} ask
   * @param {{came: (told: any) => void, failed: (error: any) => void}} listener
   */
  constructor(ask, listener) {
    this.ask = ask;
    this.listener = listener;
    const seen = () => document.visibilityState === "visible" && this.refresh();
    document.addEventListener("visibilitychange", seen, { signal: this.#stopped.signal });
    window.addEventListener("online", () => this.refresh(), { signal: this.#stopped.signal });
    void this.refresh();
  }

  /** Ask now; while an answer is awaited that may be of before, once more behind it. */
  async refresh() {
    this.#again = this.#asking;
    if (this.#asking) return;
    this.#asking = true;
    clearTimeout(this.#timer);
    const { signal } = this.#stopped;
    let told, fault;
    try {
      told = await this.ask(signal);
    } catch (error) {
      fault = /** @type {any} */ (error);
    }
    this.#asking = false;
    if (signal.aborted) return;
    if (this.#again) return void this.refresh();
    const wait = fault ? Math.max(this.#patience(), (fault.retryAfterS ?? 0) * 1000) : EVERY_MS;
    if (!fault) this.#failures = 0;
    this.#timer = setTimeout(() => document.visibilityState === "visible" && this.refresh(), wait);
    if (fault) this.listener.failed(fault);
    else this.listener.came(told);
  }

  #patience() {
    return WAITS_MS[Math.min(this.#failures++, WAITS_MS.length - 1)] ?? EVERY_MS;
  }

  stop() {
    this.#stopped.abort();
    clearTimeout(this.#timer);
  }
}
