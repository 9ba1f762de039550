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
    constructor(did: string, tokens: Token[]);
    did: string;
    tokens: Token[];
    /** The most any of their tokens grants. */
    get permission(): import("../ucan.js").Permission;
    /** When the last of their tokens ends, in Unix seconds. */
    get expiresAt(): number;
    /** What to revoke to remove them. */
    get cids(): string[];
}
/** What the log says, read from its beginning. */
export class MemberLog {
    /** The space's epoch by the server, when the log was read. */
    epoch: number;
    /** The highest epoch that administrators who are in show to have begun. */
    begun: number;
    /** What the next append must expect. */
    version: number;
    /** @type {Uint8Array} */
    lastHash: Uint8Array;
    /**
     * How many entries there are, and the digest of them all.
     *
     * @type {{entries: number, digest: Uint8Array}}
     */
    place: {
        entries: number;
        digest: Uint8Array;
    };
    /** @type {Map<string, Member>} By DID. */
    members: Map<string, Member>;
    /** @type {Set<string>} DIDs whose tokens are all revoked. */
    gone: Set<string>;
    /** @type {Set<string>} CIDs. */
    revoked: Set<string>;
    /** @type {Map<string, Set<string>>} CIDs of the UCANs that authors showed, by DID. */
    shown: Map<string, Set<string>>;
    /** @type {Map<number, Entry>} The entry whose key counts, by epoch. */
    epochs: Map<number, Entry>;
    /** @type {Map<number, Uint8Array>} Keys found in it that are for us. */
    keys: Map<number, Uint8Array>;
    /** How many entries did not count. */
    passedOver: number;
    /**
     * Whether the author of an entry of this log could not write it now.
     *
     * @param {Entry} entry
     * @param {number} nowS
     * @returns {Promise<boolean>}
     */
    isSpent(entry: Entry, nowS: number): Promise<boolean>;
}
/** Reads entries in order, learning on the way the keys that open the later ones. For one log. */
export class Reader {
    /**
     * A reader of the log of the space of this state.
     *
     * @param {SharedState} state
     * @param {import("../keys.js").DeviceKey} device
     * @returns {Promise<Reader>}
     */
    static of(state: SharedState, device: import("../keys.js").DeviceKey): Promise<Reader>;
    /**
     * @param {SharedState} state
     * @param {import("../keys.js").DeviceKey} device
     */
    constructor(state: SharedState, device: import("../keys.js").DeviceKey);
    log: MemberLog;
    /**
     * Take in the whole log.
     *
     * @param {import("../calls.js").MemberEntry[]} entries
     * @param {number} version
     * @returns {Promise<MemberLog>}
     * @throws {Refused} `log_broken` or `log_not_continued`: its hashes do not chain, or it does not continue
     *   what was read before: the server, or somebody on the way, changed it.
     */
    read(entries: import("../calls.js").MemberEntry[], version: number): Promise<MemberLog>;
    /**
     * Whether an entry would count, were it the next one.
     *
     * @param {Entry} entry
     * @returns {Promise<boolean>}
     */
    counts(entry: Entry): Promise<boolean>;
    #private;
}
export type Entry = import("./entries.js").Entry;
export type Permission = import("../ucan.js").Permission;
export type UcanChain = import("../ucan.js").UcanChain;
export type SharedState = import("./state.js").SharedState;
/**
 * A UCAN by which somebody is in.
 */
export type Token = {
    cid: string;
    /**
     * CIDs of all its links.
     */
    chain: Set<string>;
    permission: Permission;
    /**
     * Unix seconds.
     */
    expiresAt: number;
};
