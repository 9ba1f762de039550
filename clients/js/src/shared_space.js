/** A space with other people: a Space, and who is in it. */

import { Refused } from "./errors.js";
import { Presence } from "./presence.js";
import * as sharing from "./sharing/index.js";
import { covers } from "./ucan.js";
import { Space } from "./space.js";

/** @typedef {import("./sharing/state.js").Ctx} Ctx */

/**
 * Somebody who is there: `text` is what they show, `json` reads it. One person may be there with several devices,
 * which `peer` tells apart.
 *
 * @typedef {import("./presence.js").Shown & { json: () => any }} Person
 */

/** See the module. `app.createSpace`, `app.accept` and `app.space(id)` give it. */
export class SharedSpace extends Space {
  #context;
  #keys;
  #permission;
  #presence;
  #present = false;
  /** What is to be shown once there is a connection. @type {string | undefined} */
  #shown;

  /**
   * Use `load`.
   *
   * @param {Omit<import("./space.js").SpaceParts, "keys" | "access">} parts
   * @param {Ctx} context
   * @param {import("./sharing/state.js").SharedState} state
   * @param {import("./sharing/state.js").Permission} permission
   */
  constructor(parts, context, state, permission) {
    const keys = sharing.spaceKeysOf(state);
    const access = {
      ucan: async () => (await context.load())?.ucan,
      mayWrite: () => covers(this.#permission, "write"),
      learn: (/** @type {number} */ epoch) => this.#learn(epoch),
    };
    super({ ...parts, keys, access });
    this.#context = context;
    this.#keys = keys;
    this.#permission = permission;
    this.#presence = new Presence(context, { clock: parts.clock });
    this.#presence.on("event", (shown) => this.said(person(shown)));
  }

  /**
   * The space whose state is kept; undefined: none is.
   *
   * @param {Omit<import("./space.js").SpaceParts, "keys" | "access">} parts
   * @param {Ctx} context
   */
  static async load(parts, context) {
    const state = await context.load();
    if (!state) return undefined;
    return new SharedSpace(parts, context, state, (await sharing.grantOf(state.ucan)).permission);
  }

  /** What we may do: "read", "write" or "admin". */
  get permission() {
    return this.#permission;
  }

  /**
   * What is shown to the other members while this app runs, and who else is there; nothing of it is stored. Values
   * are text or what JSON can say, of about 500 bytes. `on` tells who is there now, whenever that changes.
   */
  presence = {
    /** @param {any} value */
    set: (value) => {
      this.#shown = spelled(value);
      if (this.#present) this.#presence.set(this.#shown);
    },
    clear: () => {
      this.#shown = undefined;
      this.#presence.clear();
    },
    /** @returns {Person[]} */
    here: () => this.#presence.here().map(person),
    /** @param {(here: Person[]) => void} listener @returns {() => void} to listen no more */
    on: (listener) => {
      const tell = () => listener(this.presence.here());
      const offs = [this.#presence.on("here", tell), this.#presence.on("left", tell)];
      return () => offs.forEach((off) => off());
    },
  };

  /**
   * Say something to the members who are there now: `space.on("event", ...)` with them. Nothing of it is stored,
   * and nobody tells whether it arrived.
   *
   * @param {any} value  text, or what JSON can say; about 2,800 bytes
   * @returns {Promise<void>}
   * @throws {Refused} `too_long`
   */
  send(value) {
    return this.#presence.send(spelled(value));
  }

  /** @override */
  async listen() {
    await super.listen();
    if (this.#present) return;
    this.#present = true;
    try {
      await this.#presence.open();
      if (this.#shown !== undefined) this.#presence.set(this.#shown);
    } catch (error) {
      this.#presence.close();
      this.#present = false;
      throw error;
    }
  }

  /** @override */
  async close() {
    this.#presence.close();
    await super.close();
  }

  /** The access was replaced, or is gone. @returns {Promise<boolean>} false: nothing is kept of the space any more */
  async refresh() {
    const state = await this.#context.load();
    if (state === null) return false;
    this.#keys.learn(sharing.keyMap(state));
    this.#permission = (await sharing.grantOf(state.ucan)).permission;
    return true;
  }

  /**
   * Who is in the space, and who was invited from here and has not joined yet.
   *
   * @returns {Promise<import("./sharing/people.js").Person[]>}
   */
  async members() {
    return (await sharing.members(this.#context)).members;
  }

  /**
   * Let somebody in: a bundle of access and keys is left in their mailbox, sealed for them.
   *
   * @param {{ did: string, mailbox: string, permission?: import("./ucan.js").Permission, expiresAt?: number }}
   *   person  `expiresAt` in Unix seconds, 90 days from now unless given; `permission` "write" unless given
   * @returns {Promise<void>}
   * @throws {Refused} `bad_did`, `not_allowed` ...
   */
  async invite(person) {
    await sharing.invite(this.#context, person);
  }

  /**
   * The same as text, to be handed over by other means: `app.join(text)` there.
   *
   * @param {{ did: string, permission?: import("./ucan.js").Permission, expiresAt?: number }} person
   * @returns {Promise<string>}
   */
  inviteToken(person) {
    return sharing.inviteToken(this.#context, person);
  }

  /**
   * Take back what was handed out from here to a person: they are out at once. `rotate({ remove: [did] })` also
   * keeps what is written from then on unreadable to them.
   *
   * @param {string} did
   * @returns {Promise<void>}
   * @throws {Refused} `nothing_to_revoke`
   */
  async revoke(did) {
    await sharing.revoke(this.#context, did);
  }

  /**
   * Give the space a new key, which nobody gets who is removed. After a break, it goes on where it was.
   *
   * @param {{ remove?: string[] }} [options]
   * @returns {Promise<void>}
   */
  async rotate(options) {
    await sharing.rotate(this.#context, options);
    await this.refresh();
    this.retry();
  }

  /** @param {number} epoch */
  async #learn(epoch) {
    // Another tab may have learnt it already.
    await this.refresh();
    if (this.#keys.knows(epoch)) return;
    const state = await sharing.fetchKey(this.#context, epoch);
    this.#keys.learn(sharing.keyMap(state));
    if (!this.#keys.knows(epoch)) throw new Refused("key_missing", "no key of this epoch");
  }
}

/** @param {any} value */
function spelled(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** @param {import("./presence.js").Shown} shown @returns {Person} */
function person(shown) {
  return { ...shown, json: () => JSON.parse(shown.text) };
}
