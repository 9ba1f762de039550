/**
 * The way in: one user's spaces at one server, with all that is kept on this device.
 *
 *     const app = await LessSync.open({ server, token, name: "todo" });
 *     await app.personal.put("list/milk", { done: false });
 *
 * Keys of the store: `a/identity`, `a/key` (the personal key), `a/device`, `a/space/<id>` for each shared space,
 * `a/made/<id>` (the root key of a space that was made here), `a/former/<id>/...` (access that was replaced).
 */

import { equal, fromB64url, randomBytes, randomUuid, text } from "./bytes.js";
import { systemClock } from "./clock.js";
import { Refused, RequestFailed } from "./errors.js";
import { Emitter } from "./events.js";
import { IndexedDbStore } from "./indexed_db.js";
import { Kept } from "./kept.js";
import { DeviceKey } from "./keys.js";
import { keyText, parseKeyText } from "./key_text.js";
import { rekey } from "./rekeying.js";
import { SharedSpace } from "./shared_space.js";
import * as sharing from "./sharing/index.js";
import { Space } from "./space.js";
import { SpaceKeys } from "./space_keys.js";
import { MemoryStore, clear, readOne, walk, writeOne } from "./store.js";
import { SyncClient } from "./sync_client.js";
import { Tabs } from "./tabs.js";

/** @typedef {import("./store.js").Store} Store */
/** @typedef {{ space: string, mailbox: string }} Identity */
/** @typedef {import("./sharing/people.js").Waiting} Invitation */

/**
 * @typedef {object} OpenOptions
 * @property {string} server  "https://sync.example.org"; `http` on this machine
 * @property {import("./tokens.js").TokenSource} token  the user's token, or what gives a fresh one
 * @property {string} [name]  of the store on this device; each user needs one of their own
 * @property {DeviceKey} [device]  kept from then on; made if there is none
 * @property {string} [key]  the personal key, as `exportKey` gives it on the user's first device
 * @property {Store} [store]  IndexedDB in browsers, memory in Node
 * @property {import("./space.js").Merge} [merge]  decides about two versions of an entry
 * @property {number} [largeAbove]  content of more bytes goes to file storage; 256 KiB
 * @property {import("./clock.js").Clock} [clock]  for tests, as the rest
 * @property {() => number} [random]
 * @property {() => Date} [now]
 * @property {typeof globalThis.WebSocket} [WebSocket]
 * @property {typeof globalThis.fetch} [fetch]
 */

/**
 * `state`: that of the connection ("offline", "connecting", "online", "refused", "closed"), and why. `invitation`:
 * one has come. `spaces`: a shared space was added or removed. `error`: as of spaces; `space` says which.
 *
 * @typedef {{ state: [string, Error | undefined], invitation: [], spaces: [], error: [Error & { space?: string }] }}
 *   AppEvents
 */

const LARGE_ABOVE_BYTES = 256 * 1024;
const KEY_BYTES = 32;

/** See the module. */
export class LessSync {
  #events = /** @type {Emitter<AppEvents>} */ (new Emitter());
  #options;
  #store;
  #client;
  #device;
  #secret;
  #tabs;
  /** @type {Map<string, Space | SharedSpace>} */
  #spaces = new Map();
  /** @type {Space} */
  #personal;
  #closing = false;

  /**
   * Use `open`.
   *
   * @param {OpenOptions} options
   * @param {{ store: Store, client: SyncClient, device: DeviceKey, secret: Uint8Array, identity: Identity }} parts
   */
  constructor(options, { store, client, device, secret, identity }) {
    this.#options = options;
    this.#store = store;
    this.#client = client;
    this.#device = device;
    this.#secret = secret;
    /** Where invitations for this user are left. */
    this.mailbox = identity.mailbox;
    this.#tabs = new Tabs(store.name, {
      onLead: (leads) => this.#spaces.forEach((space) => space.lead(leads)),
      onMessage: (message) => {
        this.#heard(message).catch((error) => this.#closing || this.#events.emit("error", error));
      },
    });
    globalThis.document?.addEventListener("visibilitychange", this.#stand);
    client.on("state", (state, error) => {
      this.#stand();
      this.#events.emit("state", state, error);
      this.#spaces.forEach((space) => space.connectionChanged());
    });
    client.on("notice", (notice) => this.#notice(notice));
    client.on("online", () => void this.#online(identity));
    const keys = SpaceKeys.personal(secret, identity.space);
    const access = { ucan: async () => undefined, mayWrite: () => true, learn: async () => {} };
    this.#personal = this.#held(new Space({ ...this.#parts(identity.space), keys, access }));
  }

  /**
   * Open what is kept under a name, or begin it. Works without a connection but for the first time, when the
   * server has to say who the user is.
   *
   * @param {OpenOptions} options
   * @returns {Promise<LessSync>}
   * @throws {Refused} `another_key`: what is kept here was already synced with another personal key
   * @throws {import("./errors.js").LessSyncError} the first time: as `SyncClient.info`
   */
  static async open(options) {
    const { token, name = "less-sync" } = options;
    const store = options.store ?? (globalThis.indexedDB ? new IndexedDbStore(name) : new MemoryStore());
    const device = await deviceOf(store, options.device);
    const made = await secretOf(store);
    const client = new SyncClient({ ...options, device });
    client.open().catch(() => {}); // its state says so
    try {
      const identity = await identityOf(store, client, askedWith(token, device.did));
      const { key } = options;
      const secret = key === undefined ? made : await takenOver(store, identity.space, made, key);
      const app = new LessSync(options, { store, client, device, secret, identity });
      await app.#open(identity);
      return app;
    } catch (error) {
      await client.close();
      if (options.store === undefined) store.close();
      throw error;
    }
  }

  /** The DID of this device's key. */
  get did() {
    return this.#device.did;
  }

  /** The state of the connection: "offline", "connecting", "online", "refused" or "closed". */
  get state() {
    return this.#client.state;
  }

  /** The space of this user alone, on all their devices. */
  get personal() {
    return this.#personal;
  }

  /** The shared spaces that are kept on this device. @returns {SharedSpace[]} */
  spaces() {
    return [...this.#spaces.values()].filter((space) => space instanceof SharedSpace);
  }

  /** @param {string} id @returns {Space | SharedSpace | undefined} */
  space(id) {
    return this.#spaces.get(id);
  }

  /**
   * Listen: `state`, `invitation`, `spaces` and `error`.
   *
   * @template {keyof AppEvents} N
   * @param {N} name
   * @param {(...values: AppEvents[N]) => unknown} listener
   * @returns {() => void} to listen no more
   */
  on(name, listener) {
    return this.#events.on(name, listener);
  }

  /**
   * Make a space that can be shared. Needs a connection.
   *
   * @returns {Promise<SharedSpace>}
   */
  async createSpace() {
    const id = randomUuid();
    const root = await DeviceKey.generate();
    await writeOne(this.#store, `a/made/${id}`, root.stored());
    await sharing.createSpace(this.#context(id), { space: id, root });
    return this.#enter(id);
  }

  /** What waits in this user's mailbox. @returns {Promise<Invitation[]>} */
  async invitations() {
    return (await sharing.mailbox(this.#context(""))).waiting;
  }

  /**
   * Take up an invitation: the space is kept on this device from then on.
   *
   * @param {Invitation} invitation
   * @param {{ force?: boolean }} [options]  take it even if what is had is better
   * @returns {Promise<SharedSpace>}
   * @throws {Refused} `access_is_better`, `another_root` ...
   */
  async accept(invitation, options) {
    await sharing.accept(this.#context(invitation.space), invitation, options);
    return this.#enter(invitation.space);
  }

  /**
   * Enter a shared space by a bundle, the text that `space.inviteToken` makes.
   *
   * @param {string} bundle
   * @param {{ force?: boolean }} [options]  take it even if what is had is better
   * @returns {Promise<SharedSpace>}
   * @throws {Refused} it is no bundle for this device; and as `accept`
   */
  async join(bundle, options) {
    const now = this.#now().getTime() / 1000;
    const { space } = await sharing.openBundle(bundle, this.#device, now);
    await sharing.join(this.#context(space), bundle, options);
    return this.#enter(space);
  }

  /**
   * Forget a shared space on this device, with all that is kept of it; others keep it. The root key of a space that
   * was made here stays, unreadable for scripts. After a break, call it again.
   *
   * @param {string} id
   * @returns {Promise<void>}
   */
  async forget(id) {
    const space = this.#spaces.get(id);
    if (!(space instanceof SharedSpace)) return;
    await this.#letGo(space);
    for (const prefix of [`s/${id}/`, `a/former/${id}/`, `a/space/${id}`]) await clear(this.#store, prefix);
    this.#tabs.post({ kind: "spaces" });
    this.#events.emit("spaces");
  }

  /** @param {SharedSpace} space */
  async #letGo(space) {
    this.#spaces.delete(space.id);
    await space.close();
    await this.#client.unsubscribe([space.id]);
  }

  /**
   * The personal key as text, for `open({ key })` on the user's other devices. Whoever has it can read the space.
   *
   * @returns {Promise<string>}
   */
  exportKey() {
    return keyText(this.#secret);
  }

  /** Go offline until `resume`; everything else works on. */
  pause() {
    this.#client.pause();
  }

  /** Go online again: after `pause`, or with another token after a refusal. */
  resume() {
    this.#client.resume();
    this.#spaces.forEach((space) => space.retry());
  }

  /** End. What is kept stays, and what waits is sent the next time. @returns {Promise<void>} */
  async close() {
    this.#closing = true;
    globalThis.document?.removeEventListener("visibilitychange", this.#stand);
    // They stop before the connection does, which is then no trouble to tell of.
    const ended = [...this.#spaces.values()].map((space) => space.close());
    await this.#client.close();
    await Promise.all(ended);
    this.#tabs.close();
    this.#store.close();
  }

  /** Sync for the other tabs if there is a connection; before them if this is the tab that is looked at. */
  #stand = () => {
    const isSeen = globalThis.document?.visibilityState === "visible";
    this.#tabs.stand(this.#client.state === "online", isSeen);
  };

  // What it is made of.

  #now() {
    return this.#options.now?.() ?? new Date();
  }

  /** @param {string} id @returns {Omit<import("./space.js").SpaceParts, "keys" | "access">} */
  #parts(id) {
    const { largeAbove = LARGE_ABOVE_BYTES, clock = systemClock, random = Math.random } = this.#options;
    const now = () => this.#now();
    const kept = new Kept(this.#store, id, () => now().getTime());
    const { did } = this;
    return { ...this.#options, id, kept, did, client: this.#client, tabs: this.#tabs, largeAbove, clock, random, now };
  }

  /** @template {Space | SharedSpace} T @param {T} space @returns {T} */
  #held(space) {
    this.#spaces.set(space.id, space);
    space.on("error", (error) => this.#events.emit("error", Object.assign(error, { space: space.id })));
    return space;
  }

  /** @param {Identity} identity */
  async #open(identity) {
    this.#stand();
    await this.#personal.open();
    await this.#loadSpaces();
    if (this.#client.state === "online") void this.#online(identity); // it was before anybody listened
  }

  /** Hold the shared spaces that are kept, those that another tab has added too. */
  async #loadSpaces() {
    for await (const [, { id }] of walk(this.#store, "a/space/")) {
      if (this.#spaces.has(id) || this.#closing) continue;
      const space = await SharedSpace.load(this.#parts(id), this.#context(id));
      if (space === undefined || this.#spaces.has(id)) continue;
      await this.#held(space).open();
      if (this.#client.state === "online") await this.#listen(space);
    }
  }

  /** Hold a space whose state is kept. @param {string} id @returns {Promise<SharedSpace>} */
  async #enter(id) {
    const known = this.#spaces.get(id);
    if (known instanceof SharedSpace) {
      await known.refresh();
      known.retry();
    }
    await this.#loadSpaces();
    this.#tabs.post({ kind: "spaces" });
    this.#events.emit("spaces");
    return /** @type {SharedSpace} */ (this.#spaces.get(id));
  }

  /** What the functions about sharing are given. @param {string} id @returns {import("./sharing/state.js").Ctx} */
  #context(id) {
    const store = this.#store;
    const key = `s/${id}/shared`;
    return {
      client: this.#client,
      device: this.#device,
      now: () => this.#now().getTime() / 1000,
      load: async () => (await readOne(store, key)) ?? null,
      change: (change) =>
        store.update([key], ([state], write) => {
          const changed = change(state ?? null);
          write(key, changed);
          write(`a/space/${id}`, { id }); // in the same step: whoever has access finds the space
          return changed;
        }),
      keep: (former) => writeOne(store, `a/former/${id}/${randomUuid()}`, former),
    };
  }

  // What is heard.

  /** @param {Identity} identity */
  async #online(identity) {
    try {
      const { space } = await askedIdentity(this.#client, askedWith(this.#options.token, this.did));
      if (space !== identity.space) {
        // Nothing of this user may be sent in the name of another one.
        this.#client.pause();
        this.#events.emit("error", new Refused("another_user", "this store is another user's"));
        return;
      }
      for (const space of this.#spaces.values()) await this.#listen(space);
    } catch (error) {
      if (this.#client.state === "online") this.#events.emit("error", /** @type {Error} */ (error));
    }
  }

  /** @param {Space | SharedSpace} space */
  async #listen(space) {
    try {
      await space.listen();
    } catch {
      // The tab that syncs finds out as well, and tells.
    }
  }

  /** @param {import("./sync_client.js").Notice} notice */
  #notice(notice) {
    if (notice.method === "invitation") this.#events.emit("invitation");
    const named = notice.method === "resubscribe" ? notice.spaces : "space" in notice ? [notice.space] : [];
    for (const id of named) this.#spaces.get(id)?.notice(notice);
  }

  /** @param {import("./tabs.js").TabMessage} message */
  async #heard(message) {
    if (this.#closing) return;
    if (message.kind === "spaces") {
      for (const space of this.spaces()) {
        if (!(await space.refresh())) await this.#letGo(space);
        else if (space.status.lost) space.retry();
      }
      await this.#loadSpaces();
      this.#events.emit("spaces");
    } else {
      this.#spaces.get(message.space)?.heard(message);
    }
  }
}

/**
 * The device's key: the one that is given, else the one that is kept, else a new one. Two tabs that begin at once
 * end with the same.
 *
 * @param {Store} store
 * @param {DeviceKey | undefined} given
 */
async function deviceOf(store, given) {
  const made = given ?? ((await readOne(store, "a/device")) ? undefined : await DeviceKey.generate());
  const stored = await store.update(["a/device"], ([found], write) => {
    if (made === undefined || (found !== undefined && given === undefined)) return found;
    write("a/device", made.stored());
    return made.stored();
  });
  return given ?? DeviceKey.fromStored(stored);
}

/**
 * The personal key likewise.
 *
 * @param {Store} store
 * @returns {Promise<Uint8Array>}
 */
function secretOf(store) {
  const made = randomBytes(KEY_BYTES);
  return store.update(["a/key"], ([found], write) => {
    if (found === undefined) write("a/key", made);
    return found ?? made;
  });
}

/**
 * The personal key of the user's other devices, kept from then on.
 *
 * @param {Store} store
 * @param {string} space
 * @param {Uint8Array} kept
 * @param {string} given
 */
async function takenOver(store, space, kept, given) {
  const secret = await parseKeyText(given);
  if (!equal(secret, kept)) {
    await rekey(store, space, SpaceKeys.personal(secret, space), (write) => write("a/key", secret));
  }
  return secret;
}

/**
 * A source that need not be told anything.
 *
 * @param {OpenOptions["token"]} source
 * @param {string} did
 */
const askedWith = (source, did) => () => (typeof source === "string" ? source : source(did));

/**
 * Who the user is: as it is kept, else as the server says.
 *
 * @param {Store} store
 * @param {SyncClient} client
 * @param {() => string | Promise<string>} token
 * @returns {Promise<Identity>}
 */
async function identityOf(store, client, token) {
  const kept = await readOne(store, "a/identity");
  if (kept !== undefined) return kept;
  const identity = await askedIdentity(client, token);
  if (identity.space === "") throw new Refused("no_personal_space", "no personal space in the token");
  await writeOne(store, "a/identity", identity);
  return identity;
}

/**
 * @param {SyncClient} client
 * @param {() => string | Promise<string>} token
 * @returns {Promise<Identity>}
 */
async function askedIdentity(client, token) {
  try {
    const { space, mailbox } = await client.info();
    return { space, mailbox };
  } catch (error) {
    if (!(error instanceof RequestFailed) || error.code !== "method_not_found") throw error;
    // An earlier server says it in the token alone.
    const payload = (await token()).split(".")[1] ?? "";
    const claims = JSON.parse(text(fromB64url(payload)));
    return { space: claims.personal_space_id ?? "", mailbox: claims.mailbox_id ?? "" };
  }
}
