/** See the module. `app.space(id)` and `app.personal` give it. */
export class Space {
    /** @param {SpaceParts} parts */
    constructor(parts: SpaceParts);
    id: string;
    /**
     * Listen: `change`, `status`, `conflict`, `event` and `error`.
     *
     * @template {keyof SpaceEvents} N
     * @param {N} name
     * @param {(...values: SpaceEvents[N]) => unknown} listener
     * @returns {() => void} to listen no more
     */
    on<N extends keyof SpaceEvents>(name: N, listener: (...values: SpaceEvents[N]) => unknown): () => void;
    /** The DID of this device's key. */
    get did(): string;
    /** @returns {SpaceStatus} */
    get status(): SpaceStatus;
    /**
     * Keep an entry. Resolves when it is on this device; it is sent as soon as there is a connection.
     *
     * @param {string} path
     * @param {any} value  bytes, a Blob, text (as UTF-8) or anything that JSON can say
     * @returns {Promise<void>}
     * @throws {Refused} `bad_path`, `read_only`; `other_kind`: a newer app keeps something else there; `unreadable`: what
     *   the server has there cannot be read
     * @throws {import("./errors.js").QuotaExceeded} there is no room; what was there before is still there
     */
    put(path: string, value: any): Promise<void>;
    /**
     * Delete an entry, here at once and for all others once it is sent.
     *
     * @param {string} path
     * @returns {Promise<boolean>} whether there was one
     * @throws {Refused} as `put`
     */
    delete(path: string): Promise<boolean>;
    /**
     * Put and delete several entries, all in one step here and, unless one is large, in one push.
     *
     * @param {readonly (readonly [path: string, value: any, was?: string | null])[]} items  undefined deletes. `was`:
     *   the digest the entry must have, null for none
     * @returns {Promise<number>} how many have changed
     * @throws {LessSyncError} `changed`: one has another digest, and nothing was done; and as `put`
     */
    putAll(items: readonly (readonly [path: string, value: any, was?: string | null])[]): Promise<number>;
    /**
     * @param {string} path
     * @returns {Promise<Entry | undefined>}
     * @throws {LessSyncError} a large content that is not here cannot be fetched now: `not_fetched`, or why there is
     *   no connection
     */
    get(path: string): Promise<Entry | undefined>;
    /**
     * What is here below a prefix, by path. Large entries come without their bytes.
     *
     * @param {string} [prefix]  of the path: "todo/", say
     * @returns {Promise<Entry[]>}
     */
    list(prefix?: string): Promise<Entry[]>;
    /**
     * Resolves when nothing waits to be sent and all that was on the server by now is here; offline, later.
     *
     * @returns {Promise<void>}
     * @throws {LessSyncError} what will not pass by itself: `access_lost`, `key_mismatch` ...
     */
    settled(): Promise<void>;
    /** Begin: what waits is counted, and if this tab leads it syncs. @returns {Promise<void>} */
    open(): Promise<void>;
    /** Whether this tab is the one that syncs. @param {boolean} leads */
    lead(leads: boolean): void;
    /** The connection has another state. */
    connectionChanged(): void;
    /** Somebody has said something. @param {any} message */
    said(message: any): void;
    /** There is another token, key or grant: try again. */
    retry(): void;
    /** Hear of the space's presence and events even if another tab syncs. @returns {Promise<void>} */
    listen(): Promise<void>;
    /** An announcement of this space. @param {any} notice */
    notice(notice: any): void;
    /** Another tab has said something about this space. @param {any} message */
    heard(message: any): void;
    /** End. @returns {Promise<void>} */
    close(): Promise<void>;
    #private;
}
export type Entry = import("./entry.js").Entry;
export type Merge = import("./entry.js").Merge;
export type Versions = import("./entry.js").Versions;
export type Row = import("./rows.js").Row;
export type Content = import("./rows.js").Content;
/**
 * An entry has changed. `local`: by this object; `remote`: by another device, person or tab.
 */
export type ChangeEvent = {
    path: string;
    deleted: boolean;
    origin: "local" | "remote";
};
export type SpaceStatus = {
    /**
     * whether there is a connection, and nothing that will not pass by itself
     */
    online: boolean;
    /**
     * entries that wait to be sent
     */
    pending: number;
    /**
     * a shared space does not let us in (any more); what is here stays
     */
    lost: boolean;
};
/**
 * `conflict`: two versions did not follow each other; the one from here is at `copy` now. `error`: something
 * that could not be done, was refused, or will be tried again; `code` says what, `path` where, if it is about one
 * entry.
 */
export type SpaceEvents = {
    change: [ChangeEvent];
    status: [SpaceStatus];
    conflict: [{
        path: string;
        copy: string;
    }];
    error: [LessSyncError & {
        path?: string;
    }];
    event: [any];
};
/**
 * What the app gives a space.
 */
export type SpaceParts = {
    id: string;
    /**
     * of this device
     */
    did: string;
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    client: import("./sync_client.js").SyncClient;
    tabs: import("./tabs.js").Tabs;
    access: Access;
    merge?: import("./entry.js").Merge | undefined;
    /**
     * bytes
     */
    largeAbove: number;
    clock: import("./clock.js").Clock;
    random: () => number;
    now: () => Date;
};
/**
 * How a space lets us in.
 */
export type Access = {
    /**
     * undefined for a personal space
     */
    ucan: () => Promise<string | undefined>;
    mayWrite: () => boolean;
    learn: (epoch: number) => Promise<void>;
};
import { LessSyncError } from "./errors.js";
