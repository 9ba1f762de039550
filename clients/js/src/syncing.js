/**
 * When a space is pulled and pushed: whenever either side moves, one turn at a time.
 *
 * A fault that may pass is waited out for ever, longer each time up to 30 s; what will not pass is told, and
 * then nothing is tried until `retry`. Only the tab that leads works; the others wait for their turn to lead.
 */

import { rest } from "./clock.js";
import { ClientClosed, LessSyncError } from "./errors.js";
import { MadeOf } from "./made_of.js";

const PAUSE_FIRST_MS = 1000;
const PAUSE_MAX_MS = 30_000;
const NOTICES_MAX = 256;
const LEFTOVERS_MAX = 16;

/**
 * @typedef {object} SyncingParts
 * @property {import("./exchange.js").Exchange} exchange
 * @property {(name: string, detail: any) => void} tell
 * @property {() => boolean} isOnline
 * @property {import("./clock.js").Clock} clock
 * @property {() => number} random
 */

/**
 * See the module.
 *
 * @extends {MadeOf<SyncingParts>}
 */
export class Syncing extends MadeOf {
  #notices = /** @type {any[]} */ ([]);
  #pullDue = true;
  #pushDue = true;
  #leads = false;
  stopped = false;
  /** What will not pass. @type {LessSyncError | undefined} */
  problem;
  /** @type {{ resolve: (done: boolean) => void, reject: (error: unknown) => void, turn: number }[]} */
  #settlers = [];
  #turn = 0;
  #leftovers = 0;
  #sent = 0;
  #wake = () => {};
  #interrupt = () => {};
  #ended;

  /** @param {SyncingParts} parts */
  constructor(parts) {
    super(parts);
    this.#ended = this.#run();
  }

  /** Whether this tab is the one that syncs. @param {boolean} leads */
  lead(leads) {
    if (leads && !this.#leads) this.#pullDue = this.#pushDue = true; // what the former one saw is not known here
    this.#leads = leads;
    if (!leads) for (const one of this.#settlers.splice(0)) one.resolve(false);
    this.#wake();
  }

  /** Something waits to be sent. */
  pushDue() {
    this.#pushDue = true;
    this.#wake();
  }

  /** The connection is there, or gone. Who waits after a fault tries again at once. */
  connectionChanged() {
    if (this.isOnline()) this.#interrupt();
    this.#wake();
  }

  /** An announcement of this space. @param {any} notice */
  notice(notice) {
    if (!this.#leads) return;
    if (this.#notices.length >= NOTICES_MAX) {
      // A pull finds all of it again; that a subscription was lost must not be forgotten.
      this.#notices = this.#notices.filter((one) => one.method !== "sync");
      this.#pullDue = true;
    }
    if (this.#notices.length < NOTICES_MAX) this.#notices.push(notice);
    this.#wake();
  }

  /** Try again what would not pass: there is another token, key or grant. */
  retry() {
    this.problem = undefined;
    this.exchange.isDeaf = this.exchange.askAgain = true;
    this.#pullDue = this.#pushDue = true;
    this.#interrupt();
    this.#wake();
  }

  /**
   * Resolves after the next turn that has pulled and left nothing to send; it waits while there is no connection.
   *
   * @returns {Promise<boolean>} false: another tab syncs from now on
   * @throws {LessSyncError} what will not pass
   */
  settled() {
    if (this.stopped) return Promise.reject(new ClientClosed());
    if (this.problem !== undefined) return Promise.reject(this.problem);
    this.#pullDue = this.#pushDue = true;
    return new Promise((resolve, reject) => {
      this.#settlers.push({ resolve, reject, turn: this.#turn });
      this.#wake();
    });
  }

  /** End; what is under way ends first, or fails with the client. @returns {Promise<void>} */
  async stop() {
    this.stopped = true;
    this.#interrupt();
    this.#wake();
    await this.#ended;
    for (const one of this.#settlers.splice(0)) one.reject(new ClientClosed());
  }

  async #run() {
    let pauseMs = PAUSE_FIRST_MS;
    while (!this.stopped) {
      if (!this.#isDue()) {
        await /** @type {Promise<void>} */ (new Promise((resolve) => (this.#wake = resolve)));
        continue;
      }
      try {
        await this.#work();
        pauseMs = PAUSE_FIRST_MS;
      } catch (trouble) {
        if (this.stopped) return;
        this.#pullDue = this.#pushDue = true;
        if ((await this.#isLasting(trouble)) || this.stopped) continue; // whoever was told may have stopped it
        await this.#pause(pauseMs);
        pauseMs = Math.min(2 * pauseMs, PAUSE_MAX_MS);
      }
    }
  }

  #isDue() {
    const due = this.#pullDue || this.#pushDue || this.#notices.length > 0;
    return due && this.#leads && !this.problem && this.isOnline();
  }

  async #work() {
    // Who asks from here on wants a pull that begins from here on.
    this.#turn += 1;
    for (let notice = this.#notices.shift(); notice !== undefined; notice = this.#notices.shift()) {
      this.#pullDue = (await this.exchange.take(notice)) || this.#pullDue;
    }
    const [pull, push] = [this.#pullDue || this.exchange.isDeaf, this.#pushDue];
    this.#pullDue = this.#pushDue = false;
    if (pull || push) await this.exchange.agree(pull);
    await this.#settle(pull);
  }

  /** @param {boolean} pulled */
  async #settle(pulled) {
    const { kept, sending, mayPush } = this.exchange;
    const waiting = mayPush() ? await kept.outbox() : [];
    if (waiting.some((one) => !sending.stuck.has(one.id))) {
      // It was put there while the others were sent.
      this.#leftovers = sending.sent > this.#sent ? 0 : this.#leftovers + 1;
      this.#sent = sending.sent;
      if (this.#leftovers > LEFTOVERS_MAX) throw new LessSyncError("busy", "too much waits");
      this.#pushDue = true;
      if (this.#settlers.length > 0) this.#pullDue = true;
      return;
    }
    this.#leftovers = 0;
    const done = pulled ? this.#settlers.filter((one) => one.turn < this.#turn) : [];
    this.#settlers = this.#settlers.filter((one) => !done.includes(one));
    for (const one of done) one.resolve(true);
    if (this.#settlers.length > 0) this.#pullDue = true;
  }

  /** @param {unknown} trouble */
  async #isLasting(trouble) {
    const problem = await this.exchange.lasting(trouble);
    if (!problem) {
      if (this.isOnline()) this.tell("error", trouble);
      return false;
    }
    this.problem = problem;
    this.tell("error", problem);
    this.tell("problem", problem);
    for (const one of this.#settlers.splice(0)) one.reject(problem);
    return true;
  }

  /** @param {number} ms */
  #pause(ms) {
    return rest(this.clock, ms * (1 + this.random() / 4), (wake) => (this.#interrupt = wake));
  }
}
