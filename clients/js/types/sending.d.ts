declare const Sending_base: new <P>(parts: P) => Readonly<P>;
/**
 * One space over one client, as pulling, pushing and files share it. `epoch` is the key generation that the
 * server named last, `ucan` what lets us into a shared space.
 *
 * @typedef {object} Talk
 * @property {import("./sync_client.js").SyncClient} client
 * @property {string} space
 * @property {() => Promise<string | undefined>} ucan  undefined for the personal space
 * @property {number} epoch
 */
/**
 * A row and the record that says it.
 *
 * @typedef {object} Ready
 * @property {Row} row  as it was read
 * @property {number} expected
 * @property {{ blob: Uint8Array, dek: Uint8Array }} sealed
 * @property {string | null} digest
 * @property {number} version
 * @property {string | null} content  of a large one, its content record
 * @property {{ id: string, cursor: number } | undefined} freed  what nothing points to after this
 */
/**
 * @typedef {object} SendingParts
 * @property {Talk} talk
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {import("./file_storage.js").FileStorage} storage
 * @property {import("./uploads.js").Uploads} uploads
 * @property {number} largeAbove  content of more bytes goes to file storage
 * @property {(name: string, detail: any) => void} tell
 * @property {() => number} now  milliseconds since 1970
 */
/**
 * See the module.
 *
 * @extends {MadeOf<SendingParts>}
 */
export class Sending extends Sending_base {
    constructor(parts: SendingParts);
    /** Contents that cannot be sent as things are, by record: each was told once. @type {Map<string, string>} */
    stuck: Map<string, string>;
    /** How many rows the server has taken so far. */
    sent: number;
    /**
     * Push everything that waits. False when a pull must come first.
     *
     * @param {boolean} afterPull  whether all that the server has was seen just now
     * @returns {Promise<boolean>}
     * @throws {LessSyncError} as `SyncClient.push` and the calls about files
     */
    push(afterPull: boolean): Promise<boolean>;
    #private;
}
export type Row = import("./rows.js").Row;
export type Waiting = import("./kept.js").Waiting;
/**
 * One space over one client, as pulling, pushing and files share it. `epoch` is the key generation that the
 * server named last, `ucan` what lets us into a shared space.
 */
export type Talk = {
    client: import("./sync_client.js").SyncClient;
    space: string;
    /**
     * undefined for the personal space
     */
    ucan: () => Promise<string | undefined>;
    epoch: number;
};
/**
 * A row and the record that says it.
 */
export type Ready = {
    /**
     * as it was read
     */
    row: Row;
    expected: number;
    sealed: {
        blob: Uint8Array;
        dek: Uint8Array;
    };
    digest: string | null;
    version: number;
    /**
     * of a large one, its content record
     */
    content: string | null;
    /**
     * what nothing points to after this
     */
    freed: {
        id: string;
        cursor: number;
    } | undefined;
};
export type SendingParts = {
    talk: Talk;
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    storage: import("./file_storage.js").FileStorage;
    uploads: import("./uploads.js").Uploads;
    /**
     * content of more bytes goes to file storage
     */
    largeAbove: number;
    tell: (name: string, detail: any) => void;
    /**
     * milliseconds since 1970
     */
    now: () => number;
};
export {};
