/**
 * The membership log of a shared space as its members read it: who is in, what was revoked, whose keys count.
 *
 * An entry counts if
 *
 * - its signature is right, and it stands where its author put it: it signs a digest of the whole log before
 *   it, so nobody can add, move or drop a row under it. Entries of version 1 do not; they count until the
 *   first entry that does;
 * - the UCAN its author shows allows it (`member` wants write, `removed` and `epoch` want admin), no link of
 *   it was revoked by an entry before, and none had expired at the latest time that a counted entry of
 *   somebody who is still in had given until then.
 *
 * The reader's clock decides nothing, so all who read the same log come to the same end (docs/sharing.md,
 * "The membership log", says why each rule is there). `client/sharing/log.py` is the same reader for the
 * command line.
 *
 * @module
 */
import { equal, fromB64, hex, sha256 } from "../bytes.js";
import { LessSyncError, Refused } from "../errors.js";
import { checkChain, covers, parseChain } from "../ucan.js";
import { EPOCH, MEMBER, PLACED, REMOVED, nextDigest, openEntry, openedKey } from "./entries.js";

import { keyOf } from "./state.js";

const NOTHING = new Uint8Array();

/** @typedef {import("./entries.js").Entry} Entry */
/** @typedef {import("../ucan.js").Permission} Permission */
/** @typedef {import("../ucan.js").UcanChain} UcanChain */
/** @typedef {import("./state.js").SharedState} SharedState */

/**
 * A UCAN by which somebody is in.
 *
 * @typedef {object} Token
 * @property {string} cid
 * @property {Set<string>} chain CIDs of all its links.
 * @property {Permission} permission
 * @property {number} expiresAt Unix seconds.
 */

/** Somebody who was let in, perhaps with several tokens. */
export class Member {
  /**
   * @param {string} did
   * @param {Token[]} tokens At least one.
   */
  constructor(did, tokens) {
    this.did = did;
    this.tokens = tokens;
  }

  /** The most any of their tokens grants. */
  get permission() {
    const all = this.tokens.map((token) => token.permission);
    return all.reduce((most, one) => (covers(one, most) ? one : most));
  }

  /** When the last of their tokens ends, in Unix seconds. */
  get expiresAt() {
    return Math.max(...this.tokens.map((token) => token.expiresAt));
  }

  /** What to revoke to remove them. */
  get cids() {
    return this.tokens.map((token) => token.cid);
  }
}

/** What the log says, read from its beginning. */
export class MemberLog {
  /** The space's epoch by the server, when the log was read. */
  epoch = 1;
  /** The highest epoch that administrators who are in show to have begun. */
  begun = 1;
  /** What the next append must expect. */
  version = 0;
  /** @type {Uint8Array} */
  lastHash = NOTHING;
  /**
   * How many entries there are, and the digest of them all.
   *
   * @type {{entries: number, digest: Uint8Array}}
   */
  place = { entries: 0, digest: new Uint8Array() };
  /** @type {Map<string, Member>} By DID. */
  members = new Map();
  /** @type {Set<string>} DIDs whose tokens are all revoked. */
  gone = new Set();
  /** @type {Set<string>} CIDs. */
  revoked = new Set();
  /** @type {Map<string, Set<string>>} CIDs of the UCANs that authors showed, by DID. */
  shown = new Map();
  /** @type {Map<number, Entry>} The entry whose key counts, by epoch. */
  epochs = new Map();
  /** @type {Map<number, Uint8Array>} Keys found in it that are for us. */
  keys = new Map();
  /** How many entries did not count. */
  passedOver = 0;

  /**
   * Whether the author of an entry of this log could not write it now.
   *
   * @param {Entry} entry
   * @param {number} nowS
   * @returns {Promise<boolean>}
   */
  async isSpent(entry, nowS) {
    const chain = await parseChain(entry.proof);
    return meets(chain.cids, this.revoked) || chain.leaf.expiresAt < nowS;
  }
}

/** Reads entries in order, learning on the way the keys that open the later ones. For one log. */
export class Reader {
  /**
   * What counted entries say of the time, and which epoch had begun; good until their author is out.
   *
   * @type {{chain: readonly string[], at: number, begun: number}[]}
   */
  #words = [];
  #placed = false;
  #clockS = 0;
  /** Of voided epochs too: what is under them is still to be opened. @type {Map<number, Uint8Array>} */
  #found = new Map();
  #state;
  #device;
  /** @type {Uint8Array} */
  #root = new Uint8Array();
  log = new MemberLog();

  /**
   * @param {SharedState} state
   * @param {import("../keys.js").DeviceKey} device
   */
  constructor(state, device) {
    this.#state = state;
    this.#device = device;
  }

  /**
   * A reader of the log of the space of this state.
   *
   * @param {SharedState} state
   * @param {import("../keys.js").DeviceKey} device
   * @returns {Promise<Reader>}
   */
  static async of(state, device) {
    const reader = new Reader(state, device);
    const own = await parseChain(state.ucan);
    const first = /** @type {import("../ucan.js").Ucan} */ (own.links.at(-1));
    reader.#root = first.issuerKey;
    // The creator was let in by the root key itself, before there was a log.
    reader.#letIn({ links: [first], leaf: first, cids: [first.cid, first.twinCid] });
    return reader;
  }

  /**
   * Take in the whole log.
   *
   * @param {import("../calls.js").MemberEntry[]} entries
   * @param {number} version
   * @returns {Promise<MemberLog>}
   * @throws {Refused} `log_broken` or `log_not_continued`: its hashes do not chain, or it does not continue
   *   what was read before: the server, or somebody on the way, changed it.
   */
  async read(entries, version) {
    const { log } = this;
    const before = { entries: this.#state.log?.entries ?? 0, digest: fromB64(this.#state.log?.digest ?? "") };
    for (const [index, one] of entries.entries()) {
      const broken = one.chain_seq !== index + 1 || !equal(one.prev_hash ?? NOTHING, log.lastHash);
      if (broken || !equal(await sha256(one.payload), one.entry_hash)) {
        throw new Refused("log_broken", "the membership log was altered");
      }
      log.lastHash = one.entry_hash;
      const entry = await this.#open(one.payload);
      if (!entry || !(await this.#take(entry))) log.passedOver += 1;
      log.place = { entries: index + 1, digest: await nextDigest(log.place.digest, one.entry_hash) };
      if (index + 1 === before.entries && !equal(log.place.digest, before.digest)) {
        throw notContinued("another membership log");
      }
    }
    if (log.place.entries < before.entries) {
      throw notContinued("a shorter membership log");
    }
    log.begun = this.#begun();
    log.version = version;
    return log;
  }

  /**
   * Whether an entry would count, were it the next one.
   *
   * @param {Entry} entry
   * @returns {Promise<boolean>}
   */
  async counts(entry) {
    return (await this.#author(entry)) !== null;
  }

  /** @param {Uint8Array} payload */
  async #open(payload) {
    const { space } = this.#state;
    const entry = await openEntry(payload, space, (epoch) => keyOf(this.#state, epoch));
    return entry ?? openEntry(payload, space, (epoch) => this.#found.get(epoch));
  }

  /**
   * Apply an entry if it counts.
   *
   * @param {Entry} entry
   */
  async #take(entry) {
    const chain = await this.#author(entry);
    if (!chain || !(await this.#apply(entry))) return false;
    const shown = this.log.shown.get(entry.author) ?? new Set();
    this.log.shown.set(entry.author, shown.add(chain.leaf.cid));
    const begun = entry.kind === REMOVED ? entry.epoch : entry.kind === EPOCH ? entry.epoch - 1 : 0;
    const at = entry.v === PLACED ? entry.at : 0;
    if (entry.v === PLACED) this.#placed = true;
    this.#words.push({ chain: chain.cids, at, begun });
    const times = entry.kind === REMOVED ? this.#goodWords().map((word) => word.at) : [this.#clockS, at];
    this.#clockS = times.reduce((latest, one) => Math.max(latest, one), 0);
    return true;
  }

  #goodWords() {
    return this.#words.filter((word) => !meets(word.chain, this.log.revoked));
  }

  /**
   * By what the author may write this entry here; null when they may not.
   *
   * @param {Entry} entry
   * @returns {Promise<UcanChain | null>}
   */
  async #author(entry) {
    const placed = entry.v === PLACED;
    const inPlace = placed ? entry.after === hex(this.log.place.digest) : !this.#placed;
    if (!inPlace || entry.space !== this.#state.space) return null;
    const needed = entry.kind === MEMBER ? "write" : "admin";
    return this.#granted(entry.proof, entry.author, needed, this.#timeOf(entry));
  }

  /** @param {Entry} entry */
  #timeOf(entry) {
    return entry.v === PLACED ? Math.max(entry.at, this.#clockS) : entry.at;
  }

  /** @param {Entry} entry */
  async #apply(entry) {
    if (entry.kind === MEMBER) {
      const chain = await this.#granted(entry.ucan, null, "read", this.#timeOf(entry));
      if (chain) this.#letIn(chain);
      return chain !== null;
    }
    if (entry.kind === REMOVED) {
      this.#revoke(entry.cids);
      if (entry.v === PLACED) await this.#void(entry.epoch);
      return true;
    }
    if (entry.kind !== EPOCH || entry.epoch <= 1) return false;
    await this.#epoch(entry);
    return true;
  }

  /** @param {Entry} entry */
  async #epoch(entry) {
    const former = this.log.epochs.get(entry.epoch);
    if (!former) {
      this.log.epochs.set(entry.epoch, entry);
    } else if (former.v === PLACED && entry.v === PLACED && former.check === entry.check) {
      const keys = new Map([...entry.keys, ...former.keys]);
      this.log.epochs.set(entry.epoch, { ...former, keys });
    } else {
      return;
    }
    const key = await openedKey(entry, this.#device);
    if (!key) return;
    this.log.keys.set(entry.epoch, key);
    this.#found.set(entry.epoch, key);
  }

  /**
   * Take back entries, of epochs above `begun` and what others show to have begun, of who is out.
   *
   * @param {number} given
   */
  async #void(given) {
    const begun = Math.max(given, this.#begun());
    for (const [epoch, entry] of [...this.log.epochs]) {
      if (epoch <= begun || !meets((await parseChain(entry.proof)).cids, this.log.revoked)) continue;
      this.log.epochs.delete(epoch);
      this.log.keys.delete(epoch);
    }
  }

  #begun() {
    return this.#goodWords().reduce((highest, word) => Math.max(highest, word.begun), 1);
  }

  /**
   * @param {string} ucan
   * @param {string | null} audience
   * @param {Permission} needed
   * @param {number} nowS
   * @returns {Promise<UcanChain | null>}
   */
  async #granted(ucan, audience, needed, nowS) {
    const { revoked } = this.log;
    try {
      const chain = await parseChain(ucan);
      const given = audience || chain.leaf.audience || "";
      const { space } = this.#state;
      checkChain(chain, { audience: given, needed, space, rootKey: this.#root, revoked, nowS });
      return chain;
    } catch (error) {
      if (error instanceof LessSyncError) return null;
      throw error;
    }
  }

  /** @param {UcanChain} chain */
  #letIn(chain) {
    const { cid, audience, permission, expiresAt } = chain.leaf;
    const did = audience ?? "";
    const token = { cid, chain: new Set(chain.cids), permission: granted(permission), expiresAt };
    const others = (this.log.members.get(did)?.tokens ?? []).filter((one) => one.cid !== cid);
    this.log.members.set(did, new Member(did, [...others, token]));
    this.log.gone.delete(did);
  }

  /** @param {string[]} cids */
  #revoke(cids) {
    for (const cid of cids) this.log.revoked.add(cid);
    for (const [did, member] of [...this.log.members]) {
      const left = member.tokens.filter((token) => !meets(token.chain, this.log.revoked));
      if (left.length) {
        this.log.members.set(did, new Member(did, left));
      } else {
        this.log.members.delete(did);
        this.log.gone.add(did);
      }
    }
  }
}

/**
 * The permission of a token that was found to grant one.
 *
 * @param {Permission | undefined} permission
 */
function granted(permission) {
  return /** @type {Permission} */ (permission);
}

/**
 * @param {Iterable<string>} some
 * @param {Set<string>} others
 */
function meets(some, others) {
  for (const one of some) if (others.has(one)) return true;
  return false;
}

/** @param {string} shown */
function notContinued(shown) {
  return new Refused(
    "log_not_continued",
    `${shown} does not continue the one read before; \`force\` replaces it`,
  );
}
