/**
 * The tabs of a browser that share one store: one of them syncs, and all hear what the others have changed.
 *
 * A Web Lock elects the one that syncs, of those that have a connection. The tab that is looked at takes the lock
 * over, as systems freeze tabs that are not; when the one that has it is closed, killed or offline the browser gives
 * it to the next. The others work on the store and say so through a BroadcastChannel. This saves work, and nothing
 * depends on it: where there are no locks every tab syncs, and as each step of the store starts from what is there,
 * two that do the same at once end with what one would have come to.
 */

/** @typedef {{ kind: "change", space: string, path: string, deleted: boolean } | { kind: "spaces" } |
 *   { kind: "waiting", space: string, waiting: number } |
 *   { kind: "settle" | "settled", space: string, id: string, error?: string }} TabMessage */

/** See the module. */
export class Tabs {
  #name;
  #channel;
  #locks;
  #onLead;
  /** @type {(() => void) | undefined} */
  #withdraw;
  leads = false;

  /**
   * @param {string} name  of the store; empty: nobody else has it
   * @param {object} callbacks
   * @param {(leads: boolean) => void} callbacks.onLead  whether this tab is the one that syncs from now on
   * @param {(message: TabMessage) => void} callbacks.onMessage
   * @param {LockManager | undefined} [locks]
   */
  constructor(name, { onLead, onMessage }, locks = globalThis.navigator?.locks) {
    this.#name = name;
    this.#onLead = onLead;
    if (name !== "" && globalThis.BroadcastChannel !== undefined) {
      this.#locks = locks;
      this.#channel = new BroadcastChannel(name);
      this.#channel.onmessage = ({ data }) => onMessage(data);
      // In Node an open channel would keep the process alive.
      /** @type {any} */ (this.#channel).unref?.();
    }
    if (this.#locks === undefined) this.#lead(true);
  }

  /**
   * Be one of those who may sync, or not.
   *
   * @param {boolean} stands
   * @param {boolean} [first]  before all others
   */
  stand(stands, first = false) {
    if (this.#locks === undefined || (stands && (this.leads || (this.#withdraw && !first)))) return;
    this.#withdraw?.();
    this.#withdraw = undefined;
    if (!stands) return;
    const abort = new AbortController();
    const { signal } = abort;
    let leave = () => {};
    this.#withdraw = () => {
      abort.abort();
      leave();
      this.#lead(false);
    };
    const lead = () => {
      if (signal.aborted) return undefined;
      this.#lead(true);
      return /** @type {Promise<void>} */ (new Promise((resolve) => (leave = resolve)));
    };
    this.#locks.request(this.#name, first ? { steal: true } : { signal }, lead).catch(() => {
      if (signal.aborted) return;
      if (!this.leads) return void lead(); // there are no locks here
      // Another tab has taken it over.
      this.stand(false);
      this.stand(true);
    });
  }

  /** @param {boolean} leads */
  #lead(leads) {
    if (leads === this.leads) return;
    this.leads = leads;
    this.#onLead(leads);
  }

  /** Tell the other tabs. @param {TabMessage} message */
  post(message) {
    this.#channel?.postMessage(message);
  }

  /** Lead no more, and hear nothing more. */
  close() {
    this.stand(false);
    this.#lead(false);
    this.#channel?.close();
    this.#channel = this.#locks = undefined;
  }
}
