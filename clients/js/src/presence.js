/**
 * Who is in a shared space at this moment, and one message to them. Nothing of it is stored anywhere.
 *
 * What is shown is sealed for the members (`sharing/sealing.js`): the JWS by the sender's DID, `typ`
 * less-sync-presence, holds `{from, at, text}`. What is older than two minutes is not shown, so that nobody
 * can play it again. `less-sync space presence` and `send` do the same.
 *
 * @module
 */
import { utf8 } from "./bytes.js";
import { rest, systemClock } from "./clock.js";
import { LessSyncError, Refused } from "./errors.js";
import { Emitter } from "./events.js";
import { readLog, standing } from "./sharing/log_access.js";
import { openSigned, sealSigned } from "./sharing/sealing.js";
import { countIn, objectIn, textsIn } from "./sharing/shapes.js";
import { bound, epochsOf, keyOf, present } from "./sharing/state.js";

/** @typedef {import("./sharing/state.js").Ctx} Ctx */
/** @typedef {import("./sharing/state.js").SharedState} SharedState */

/** Largest sealed bytes of what is shown: room for about 500 bytes of text. */
export const PRESENCE_BYTES_MAX = 1024;
/** Largest sealed bytes of a message: room for about 2,800 bytes of text. */
export const EVENT_BYTES_MAX = 4096;
/** How often we say that we are still there. */
export const HEARTBEAT_MS = 25_000;
/** Shown again at most every so often, whatever is set: the server drops more than 50 a second. */
export const GAP_MS = 50;
/** Peers that are kept in mind; a server lets 100 be present. */
export const PEERS_MAX = 1000;
/** Messages that wait to be opened; more are dropped. */
export const EVENTS_MAX = 1000;

const AGE_S_MAX = 120;
const TYP = "less-sync-presence";
const INFO = "less-sync/space/v1/presence";

/**
 * Somebody who is there, or who says something: whose key has signed it. `peer` is the connection's
 * pseudonym: one person may be there with several devices.
 *
 * @typedef {object} Shown
 * @property {string} peer
 * @property {string} did
 * @property {string} text
 */

/** @typedef {{here: [Shown], left: [Shown], event: [Shown]}} PresenceEvents */

/**
 * Presence in one shared space.
 *
 *     const presence = new Presence(ctx);
 *     presence.on("here", ({ did, text }) => ...);   // somebody came, or shows something else
 *     presence.on("left", ({ did }) => ...);
 *     presence.on("event", ({ did, text }) => ...);  // a message
 *     await presence.open();
 *     presence.set("reading page 4");
 */
export class Presence {
  #ctx;
  #clock;
  #space = "";
  #events = /** @type {Emitter<PresenceEvents>} */ (new Emitter());
  /** @type {Map<string, Uint8Array>} What the server says each peer shows now. */
  #said = new Map();
  /** @type {Set<string>} Peers about whom something else was said than what is in `#here`. */
  #changed = new Set();
  /** @type {Map<string, Shown>} */
  #here = new Map();
  /** @type {{peer: string, data: Uint8Array}[]} */
  #messages = [];
  #opening = false;
  /** @type {Map<number, Uint8Array>} Keys of epochs that are about to begin: others may be there already. */
  #toCome = new Map();
  /** @type {string | null} */
  #text = null;
  #due = false;
  #showing = false;
  #learning = false;
  #closed = false;
  /** Whether the log has grown since it was read. */
  #wanted = false;
  /** @type {unknown} */
  #heartbeat = null;
  /** @type {(() => void)[]} */
  #offs = [];

  /**
   * @param {Ctx} ctx
   * @param {{clock?: import("./clock.js").Clock}} [options]
   */
  constructor(ctx, { clock = systemClock } = {}) {
    this.#ctx = ctx;
    this.#clock = clock;
  }

  /**
   * Listen.
   *
   * @template {keyof PresenceEvents} N
   * @param {N} name
   * @param {(...values: PresenceEvents[N]) => unknown} listener
   * @returns {() => void} To listen no more.
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  /**
   * Hear of the others from now on, and of who is there already.
   *
   * @returns {Promise<void>}
   * @throws {AccessLost} The space does not let us in.
   * @throws {ConnectFailed} We are offline.
   */
  async open() {
    this.#closed = false;
    this.#space = (await bound(this.#ctx)).state.space;
    const { client } = this.#ctx;
    this.#offs.push(client.on("notice", (notice) => this.#take(notice)));
    this.#offs.push(client.on("state", () => this.#stateChanged()));
    await this.#enter(false);
    if (this.#text !== null) void this.#show();
  }

  /** Be there no more, and hear no more. */
  close() {
    this.#closed = true;
    this.clear();
    for (const off of this.#offs.splice(0)) off();
    this.#clock.clearTimeout(this.#heartbeat);
    this.#said.clear();
    this.#here.clear();
    this.#messages = [];
  }

  /**
   * Who is there now, ourselves left out.
   *
   * @returns {Shown[]}
   */
  here() {
    return [...this.#here.values()];
  }

  /**
   * Be there and show a text, until `clear`: also after reconnects. Of many in a short time the last is
   * shown.
   *
   * @param {string} text
   * @throws {Refused} `too_long`: more than 500 bytes of UTF-8.
   */
  set(text) {
    if (utf8(JSON.stringify(text)).length > TEXT_BYTES_MAX) throw tooLong();
    this.#text = text;
    this.#show();
  }

  /** Be there no more; the others are still heard of. */
  clear() {
    if (this.#text === null) return;
    this.#text = null;
    this.#show();
  }

  /**
   * Send one text to whoever listens now, once we are open. Nobody tells whether it arrived.
   *
   * @param {string} text
   * @returns {Promise<void>}
   * @throws {Refused} `too_long`
   * @throws {ConnectFailed} We are offline.
   */
  async send(text) {
    const { state } = await bound(this.#ctx);
    await this.#ctx.client.eventSend(state.space, await this.#sealed(text, state, EVENT_BYTES_MAX));
  }

  /** @param {import("./sync_client.js").Notice} notice */
  #take(notice) {
    if (!("space" in notice) || notice.space !== this.#space) return;
    if (notice.method === "presence") this.#say(notice.peer, notice.data);
    else if (notice.method === "presence.leave") this.#say(notice.peer, null);
    else if (notice.method === "event") this.#hear(notice);
    else if (notice.method === "membership") void this.#learn(true);
    else if (notice.method === "lost") this.#sayAll([]);
    else if (notice.method === "resync") {
      this.#sayAll(notice.peers ?? []);
      this.#show(); // the server has forgotten that we are here
    }
  }

  #stateChanged() {
    if (this.#ctx.client.state !== "online") this.#sayAll([]);
  }

  /** @param {import("./shapes.js").Peer[]} peers */
  #sayAll(peers) {
    const now = new Set(peers.map(({ peer }) => peer));
    for (const peer of this.#said.keys()) if (!now.has(peer)) this.#say(peer, null);
    for (const { peer, data } of peers) this.#say(peer, data);
  }

  /**
   * @param {string} peer
   * @param {Uint8Array | null} data Null: not there any more.
   */
  #say(peer, data) {
    if (!data) this.#said.delete(peer);
    else if (this.#said.has(peer) || this.#said.size < PEERS_MAX) this.#said.set(peer, data);
    this.#changed.add(peer);
    void this.#open();
  }

  /** @param {{peer: string, data: Uint8Array}} message */
  #hear({ peer, data }) {
    if (this.#messages.length < EVENTS_MAX) this.#messages.push({ peer, data });
    void this.#open();
  }

  /** Open what was said, one thing after the other, and tell of it. */
  async #open() {
    if (this.#opening) return;
    this.#opening = true;
    try {
      while (this.#changed.size || this.#messages.length) {
        const state = present(await this.#ctx.load());
        const [peer] = this.#changed;
        if (peer !== undefined) await this.#look(peer, state);
        const message = this.#messages.shift();
        const shown = message && (await this.#opened(message.peer, message.data, state));
        if (shown) this.#events.emit("event", shown);
      }
    } catch (error) {
      if (!(error instanceof LessSyncError)) throw error;
      this.#changed.clear(); // nothing is kept of the space any more
      this.#messages = [];
    } finally {
      this.#opening = false;
    }
  }

  /**
   * @param {string} peer
   * @param {SharedState} state
   */
  async #look(peer, state) {
    this.#changed.delete(peer);
    const data = this.#said.get(peer);
    const shown = data && (await this.#opened(peer, data, state));
    if (this.#said.get(peer) !== data) return; // said anew meanwhile: it is looked at again
    const former = this.#here.get(peer);
    if (shown) {
      this.#here.set(peer, shown);
      if (former?.did !== shown.did || former.text !== shown.text) this.#events.emit("here", shown);
    } else if (former) {
      this.#here.delete(peer);
      this.#events.emit("left", former);
    }
  }

  /**
   * @param {string} peer
   * @param {Uint8Array} data
   * @param {SharedState} state
   * @returns {Promise<Shown | null>} Null: not by a member, or too old.
   */
  async #opened(peer, data, state) {
    /** @param {number} epoch */
    const keyOfEpoch = (epoch) => keyOf(state, epoch) ?? this.#toCome.get(epoch);
    const { space } = state;
    /** @param {Uint8Array} plain */
    const authorOf = (plain) => shownIn(plain)?.from ?? null;
    const how = { typ: TYP, info: INFO, space, keyOf: keyOfEpoch, authorOf };
    const shown = shownIn(await openSigned(data, how));
    if (!shown || Math.abs(this.#ctx.now() - shown.at) > AGE_S_MAX) return null;
    return { peer, did: shown.from, text: shown.text };
  }

  /** Show what is to be shown, again and again; only the latest if there is much. */
  async #show() {
    this.#due = true;
    if (this.#showing) return;
    this.#showing = true;
    try {
      while (this.#due) {
        this.#due = false;
        await this.#shown();
        await rest(this.#clock, GAP_MS, () => {});
      }
    } catch (error) {
      if (!(error instanceof LessSyncError)) throw error; // offline: it is shown after the next `resync`
    } finally {
      this.#showing = false;
    }
  }

  async #shown() {
    const { client } = this.#ctx;
    if (!this.#space) return; // not open yet
    this.#clock.clearTimeout(this.#heartbeat);
    if (this.#text === null) return client.presenceClear(this.#space);
    this.#heartbeat = this.#clock.setTimeout(() => void this.#beat(), HEARTBEAT_MS);
    const state = present(await this.#ctx.load());
    await client.presenceSet(this.#space, await this.#sealed(this.#text, state, PRESENCE_BYTES_MAX));
  }

  async #beat() {
    await this.#learn(false); // perhaps another epoch has begun
    if (this.#text !== null) void this.#show();
  }

  /**
   * As `#enter`, one after the other. What fails is done again at the next occasion.
   *
   * @param {boolean} changed
   */
  async #learn(changed) {
    this.#wanted ||= changed;
    if (this.#learning) return;
    this.#learning = true;
    try {
      do {
        const wanted = this.#wanted;
        this.#wanted = false;
        await this.#enter(wanted);
      } while (this.#wanted);
    } catch (error) {
      if (!(error instanceof LessSyncError)) throw error;
    } finally {
      this.#learning = false;
    }
  }

  /**
   * See where the space stands and who is there, and learn the keys that are missing.
   *
   * @param {boolean} changed Whether the log has grown.
   */
  async #enter(changed) {
    const state = present(await this.#ctx.load());
    const { epoch, peers } = await standing(this.#ctx, state.ucan);
    if (this.#closed) return;
    // At once: what is announced after this answer is newer.
    this.#sayAll(peers);
    if (!changed && keyOf(state, epoch)) return;
    this.#toCome = (await readLog(this.#ctx, epoch)).log.keys;
    for (const [peer, data] of this.#said) this.#say(peer, data);
  }

  /**
   * @param {string} text
   * @param {SharedState} state
   * @param {number} bytesMax
   */
  async #sealed(text, state, bytesMax) {
    const epoch = /** @type {number} */ (epochsOf(state).at(-1));
    const key = /** @type {Uint8Array} */ (keyOf(state, epoch));
    const { device, now } = this.#ctx;
    const payload = utf8(JSON.stringify({ from: device.did, at: Math.floor(now()), text }));
    const data = await sealSigned(payload, { device, typ: TYP, info: INFO, space: state.space, epoch, key });
    if (data.length > bytesMax) throw tooLong();
    return data;
  }
}

/** In JSON; with all around it, it fits into what a server takes. */
const TEXT_BYTES_MAX = 500;

function tooLong() {
  return new Refused("too_long", "the text is too long");
}

/** @param {Uint8Array | null} plain */
function shownIn(plain) {
  const object = objectIn(plain);
  const texts = object && textsIn(object, { from: null, text: null });
  const at = object && countIn(object, "at");
  return texts && at !== null ? { ...texts, at } : null;
}
