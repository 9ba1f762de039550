/** The space does not let us in (any more): the one answer that is believed about it. */
export class SpaceLost extends LessSyncError {
    constructor();
}
declare const Exchange_base: new <P>(parts: P) => Readonly<P>;
/**
 * @typedef {object} ExchangeParts
 * @property {import("./sending.js").Talk} talk
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {import("./intake.js").Intake} intake
 * @property {import("./sending.js").Sending} sending
 * @property {(epoch: number) => Promise<void>} learn  has the key of an epoch, or throws
 * @property {() => boolean} mayPush
 */
/**
 * See the module. Methods run one at a time.
 *
 * @extends {MadeOf<ExchangeParts>}
 */
export class Exchange extends Exchange_base {
    constructor(parts: ExchangeParts);
    /** Whether the server may have ended the subscription, and has not taken it anew. */
    isDeaf: boolean;
    /** Whether what could not be applied before is asked for again: once after opening, and after new keys. */
    askAgain: boolean;
    /**
     * Subscribe the space and have its newest key.
     *
     * @throws {SpaceLost}
     * @throws {LessSyncError} as `SyncClient.subscribe`, and as `learn`
     */
    subscribe(): Promise<import("./shapes.js").SubscribedSpace>;
    /** Have the newest key of a shared space. Before each part of an upload, and for parts of unknown keys. */
    refreshKeys(): Promise<void>;
    /**
     * Apply one announcement if it continues what is known. True: a pull is due.
     *
     * @param {any} notice
     * @returns {Promise<boolean>}
     */
    take(notice: any): Promise<boolean>;
    /**
     * Take in everything after the cursor.
     *
     * @throws {import("./intake.js").KeyMismatch} the space was written with another key; nothing was changed
     * @throws {LessSyncError} as `SyncClient.pull`
     */
    pull(): Promise<void>;
    /**
     * Pull and push in turn until a push goes through.
     *
     * After a few conflicts in a row everything is forgotten and compared anew: the server then contradicts what
     * is remembered of it, as one restored from a backup does.
     *
     * @param {boolean} pullFirst
     */
    agree(pullFirst: boolean): Promise<void>;
    /**
     * What of a fault will not pass; undefined: it may. Whether access is gone only subscribing tells.
     *
     * @param {unknown} trouble
     * @returns {Promise<LessSyncError | undefined>}
     */
    lasting(trouble: unknown): Promise<LessSyncError | undefined>;
    #private;
}
export type Incoming = import("./intake.js").Incoming;
export type ExchangeParts = {
    talk: import("./sending.js").Talk;
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    intake: import("./intake.js").Intake;
    sending: import("./sending.js").Sending;
    /**
     * has the key of an epoch, or throws
     */
    learn: (epoch: number) => Promise<void>;
    mayPush: () => boolean;
};
import { LessSyncError } from "./errors.js";
export {};
