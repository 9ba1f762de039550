/**
 * Group changes into pushes that fit into one message each. A change too large for any stands alone.
 *
 * @param {Iterable<Change>} changes
 * @param {number} [frameBytes]
 * @returns {Generator<Change[], void, void>}
 */
export function splitChanges(changes: Iterable<Change>, frameBytes?: number): Generator<Change[], void, void>;
/** Wrapped DEKs in one request of `deksRewrap`: about 1 MiB. */
export const DEKS_PER_REWRAP: 10000;
/**
 * `SyncClient` has all of these. Results are what the server sent, with the names it gave. Each may reject
 * with `RequestFailed` (`AccessLost`: `forbidden`), `ConnectFailed`, `ConnectionLost`, `RequestTimeout`,
 * `TokenRefused`, `FrameTooLarge`, `NotThisProtocol` and `ClientClosed`; `errors.js` says what they mean.
 */
export class Calls {
    /** @param {import("./keeper.js").Keeper} keeper */
    constructor(keeper: import("./keeper.js").Keeper);
    /**
     * Who this client is to the server (docs/protocol.md 7).
     *
     * @returns {Promise<import("./shapes.js").SessionInfo>}
     */
    info(): Promise<import("./shapes.js").SessionInfo>;
    /**
     * Give the server a fresh token for this connection (docs/protocol.md 7.1). A refusal is a value.
     *
     * @returns {Promise<{ok: boolean, error?: string}>}
     * @throws {import("./errors.js").TokenUnavailable}
     */
    refresh(): Promise<{
        ok: boolean;
        error?: string;
    }>;
    /**
     * Hear of these spaces from now on, also after reconnects (docs/protocol.md 7.3). A space that is refused
     * is one of `errors` and harms no other.
     *
     * @param {{id: string, since?: number, ucan?: string, presence?: boolean}[]} entries at most 1000.
     * @returns {Promise<{spaces: import("./shapes.js").SubscribedSpace[],
     *   errors: {space: string, error: string}[]}>}
     */
    subscribe(entries: {
        id: string;
        since?: number;
        ucan?: string;
        presence?: boolean;
    }[]): Promise<{
        spaces: import("./shapes.js").SubscribedSpace[];
        errors: {
            space: string;
            error: string;
        }[];
    }>;
    /**
     * Hear no more of these spaces (docs/protocol.md 8.3).
     *
     * @param {string[]} ids
     */
    unsubscribe(ids: string[]): Promise<void>;
    /**
     * Write changes, all or none (docs/protocol.md 7.4). A refusal is a value: `ok` false and `error`, an error
     * code. After ConnectionLost or RequestTimeout it may have been written (docs/protocol.md 6.5).
     *
     * @param {string} space
     * @param {Change[]} changes `splitChanges` makes them fit.
     * @param {Access & {timeoutMs?: number}} [options]
     * @returns {Promise<PushResult>}
     */
    push(space: string, changes: Change[], { ucan, timeoutMs }?: Access & {
        timeoutMs?: number;
    }): Promise<PushResult>;
    /**
     * Create a shared space (docs/protocol.md 7.2).
     *
     * @param {string} space a random UUID.
     * @param {Uint8Array} rootPublicKey 33 bytes, a compressed P-256 point.
     * @param {{home_server?: string}} [options]
     * @returns {Promise<{id: string, key_generation: number, home_server?: string}>}
     */
    spaceCreate(space: string, rootPublicKey: Uint8Array, { home_server }?: {
        home_server?: string;
    }): Promise<{
        id: string;
        key_generation: number;
        home_server?: string;
    }>;
    /**
     * Append an entry to the membership log (docs/protocol.md 7.6); `conflict` when somebody was faster.
     *
     * @param {string} space
     * @param {{expected_version: number, prev_hash?: Uint8Array, entry_hash: Uint8Array,
     *   payload: Uint8Array}} entry
     * @param {Access} [options]
     * @returns {Promise<{chain_seq: number, metadata_version: number}>}
     */
    membershipAppend(space: string, { expected_version, prev_hash, entry_hash, payload }: {
        expected_version: number;
        prev_hash?: Uint8Array;
        entry_hash: Uint8Array;
        payload: Uint8Array;
    }, { ucan }?: Access): Promise<{
        chain_seq: number;
        metadata_version: number;
    }>;
    /**
     * The entries of the membership log above `since_seq` (docs/protocol.md 7.7).
     *
     * @param {string} space
     * @param {Access & {since_seq?: number}} [options]
     * @returns {Promise<{entries: MemberEntry[], metadata_version: number}>}
     */
    membershipList(space: string, { ucan, since_seq }?: Access & {
        since_seq?: number;
    }): Promise<{
        entries: MemberEntry[];
        metadata_version: number;
    }>;
    /**
     * Make a UCAN, and all that was delegated from it, worthless in the space (docs/protocol.md 7.8).
     *
     * @param {string} space
     * @param {string} ucanCid 64 hex digits.
     * @param {Access} [options]
     */
    membershipRevoke(space: string, ucanCid: string, { ucan }?: Access): Promise<void>;
    /**
     * Leave a message in a mailbox (docs/protocol.md 7.9).
     *
     * @param {string} mailbox 64 hex digits.
     * @param {string} payload at most 131072 bytes.
     * @param {{server?: string}} [options] the domain of the mailbox's own server.
     * @returns {Promise<Invitation>}
     */
    invitationCreate(mailbox: string, payload: string, { server }?: {
        server?: string;
    }): Promise<Invitation>;
    /**
     * One page of the own mailbox, the oldest first (docs/protocol.md 7.10).
     *
     * @param {{limit?: number, after?: string}} [options]
     * @returns {Promise<Invitation[]>}
     */
    invitationList({ limit, after }?: {
        limit?: number;
        after?: string;
    }): Promise<Invitation[]>;
    /**
     * @param {string} id
     * @returns {Promise<Invitation>}
     */
    invitationGet(id: string): Promise<Invitation>;
    /** @param {string} id */
    invitationDelete(id: string): Promise<void>;
    /**
     * Enter the next epoch (docs/protocol.md 7.13). A conflict is a value.
     *
     * @param {string} space
     * @param {number} epoch
     * @param {Access & {set_min_key_generation?: boolean}} [options]
     * @returns {Promise<{epoch: number, error?: undefined} |
     *   {error: string, current_epoch: number, rewrap_epoch?: number}>}
     */
    epochBegin(space: string, epoch: number, { ucan, set_min_key_generation }?: Access & {
        set_min_key_generation?: boolean;
    }): Promise<{
        epoch: number;
        error?: undefined;
    } | {
        error: string;
        current_epoch: number;
        rewrap_epoch?: number;
    }>;
    /**
     * Say that every DEK is rewrapped (docs/protocol.md 7.14).
     *
     * @param {string} space
     * @param {number} epoch
     * @param {Access} [options]
     */
    epochComplete(space: string, epoch: number, { ucan }?: Access): Promise<void>;
    /**
     * Yield the wrapped DEKs of records by cursor, which is `seq` (docs/protocol.md 7.15).
     *
     * @param {string} space
     * @param {Access & {since?: number}} [options]
     * @returns {AsyncGenerator<RecordDek, void, void>}
     */
    deksGet(space: string, options?: Access & {
        since?: number;
    }): AsyncGenerator<RecordDek, void, void>;
    /**
     * Yield the wrapped DEKs of files by cursor (docs/protocol.md 7.17).
     *
     * @param {string} space
     * @param {Access & {since?: number}} [options]
     * @returns {AsyncGenerator<FileDek, void, void>}
     */
    fileDeksGet(space: string, options?: Access & {
        since?: number;
    }): AsyncGenerator<FileDek, void, void>;
    /**
     * Replace wrapped DEKs of records, all or none (docs/protocol.md 7.16). Rejects with ConnectionLost also if
     * they were listed over another connection: list them again.
     *
     * @param {string} space
     * @param {RewrappedDek[]} deks at most `DEKS_PER_REWRAP`.
     * @param {Access} [options]
     * @returns {Promise<number>} how many were sent.
     */
    deksRewrap(space: string, deks: RewrappedDek[], options?: Access): Promise<number>;
    /**
     * The same of files (docs/protocol.md 7.18).
     *
     * @param {string} space
     * @param {RewrappedDek[]} deks
     * @param {Access} [options]
     * @returns {Promise<number>}
     */
    fileDeksRewrap(space: string, deks: RewrappedDek[], options?: Access): Promise<number>;
    /**
     * Be there, with up to 1024 bytes to show (docs/protocol.md 8.4); again within a minute to stay.
     *
     * @param {string} space
     * @param {Uint8Array} data
     */
    presenceSet(space: string, data: Uint8Array): Promise<void>;
    /**
     * Be there no more (docs/protocol.md 8.5).
     *
     * @param {string} space
     */
    presenceClear(space: string): Promise<void>;
    /**
     * Send up to 4096 bytes to whoever listens now (docs/protocol.md 8.6). Nobody tells whether they arrived.
     *
     * @param {string} space
     * @param {Uint8Array} data
     */
    eventSend(space: string, data: Uint8Array): Promise<void>;
    #private;
}
export type Bytes = import("./bytes.js").Bytes;
export type Invitation = import("./shapes.js").Invitation;
export type MemberEntry = import("./shapes.js").MemberEntry;
export type PushResult = import("./shapes.js").PushResult;
export type RecordDek = {
    id: string;
    dek: Bytes;
    seq: number;
};
export type FileDek = {
    id: string;
    dek: Bytes;
    cursor: number;
};
export type RewrappedDek = {
    id: string;
    dek: Uint8Array;
};
/**
 * One record to write: without a blob it is deleted. `expected_cursor` is where it was last seen, 0: never.
 */
export type Change = {
    id: string;
    blob?: Uint8Array;
    expected_cursor: number;
    dek?: Uint8Array;
};
/**
 * A UCAN lets the caller into a shared space; in the own personal space none is needed.
 */
export type Access = {
    ucan?: string;
};
