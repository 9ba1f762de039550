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
/** See the module. */
export class Sending {
    /**
     * @param {object} parts
     * @param {Talk} parts.talk
     * @param {import("./kept.js").Kept} parts.kept
     * @param {import("./space_keys.js").SpaceKeys} parts.keys
     * @param {import("./file_storage.js").FileStorage} parts.storage
     * @param {import("./uploads.js").Uploads} parts.uploads
     * @param {number} parts.largeAbove  content of more bytes goes to file storage
     * @param {(name: string, detail: any) => void} parts.tell
     * @param {() => number} parts.now  milliseconds since 1970
     */
    constructor({ talk, kept, keys, storage, uploads, largeAbove, tell, now }: {
        talk: Talk;
        kept: import("./kept.js").Kept;
        keys: import("./space_keys.js").SpaceKeys;
        storage: import("./file_storage.js").FileStorage;
        uploads: import("./uploads.js").Uploads;
        largeAbove: number;
        tell: (name: string, detail: any) => void;
        now: () => number;
    });
    /** Contents that cannot be sent as things are, by record: each was told once. @type {Map<string, string>} */
    stuck: Map<string, string>;
    talk: Talk;
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    storage: import("./file_storage.js").FileStorage;
    uploads: import("./uploads.js").Uploads;
    largeAbove: number;
    tell: (name: string, detail: any) => void;
    now: () => number;
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
