declare const Syncing_base: new <P>(parts: P) => Readonly<P>;
/**
 * @typedef {object} SyncingParts
 * @property {import("./exchange.js").Exchange} exchange
 * @property {(name: string, detail: any) => void} tell
 * @property {() => boolean} isOnline
 * @property {import("./clock.js").Clock} clock
 * @property {() => number} random
 */
/**
 * See the module.
 *
 * @extends {MadeOf<SyncingParts>}
 */
export class Syncing extends Syncing_base {
    /** @param {SyncingParts} parts */
    constructor(parts: SyncingParts);
    stopped: boolean;
    /** What will not pass. @type {LessSyncError | undefined} */
    problem: LessSyncError | undefined;
    /** Whether this tab is the one that syncs. @param {boolean} leads */
    lead(leads: boolean): void;
    /** Something waits to be sent. */
    pushDue(): void;
    /** The connection is there, or gone. Who waits after a fault tries again at once. */
    connectionChanged(): void;
    /** An announcement of this space. @param {any} notice */
    notice(notice: any): void;
    /** Try again what would not pass: there is another token, key or grant. */
    retry(): void;
    /**
     * Resolves after the next turn that has pulled and left nothing to send; it waits while there is no connection.
     *
     * @returns {Promise<boolean>} false: another tab syncs from now on
     * @throws {LessSyncError} what will not pass
     */
    settled(): Promise<boolean>;
    /** End; what is under way ends first, or fails with the client. @returns {Promise<void>} */
    stop(): Promise<void>;
    #private;
}
export type SyncingParts = {
    exchange: import("./exchange.js").Exchange;
    tell: (name: string, detail: any) => void;
    isOnline: () => boolean;
    clock: import("./clock.js").Clock;
    random: () => number;
};
import { LessSyncError } from "./errors.js";
export {};
