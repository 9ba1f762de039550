/** See the module. */
export class Syncing {
    /**
     * @param {object} parts
     * @param {import("./exchange.js").Exchange} parts.exchange
     * @param {(name: string, detail: any) => void} parts.tell
     * @param {() => boolean} parts.isOnline
     * @param {import("./clock.js").Clock} parts.clock
     * @param {() => number} parts.random
     */
    constructor({ exchange, tell, isOnline, clock, random }: {
        exchange: import("./exchange.js").Exchange;
        tell: (name: string, detail: any) => void;
        isOnline: () => boolean;
        clock: import("./clock.js").Clock;
        random: () => number;
    });
    /** What will not pass. @type {LessSyncError | undefined} */
    problem: LessSyncError | undefined;
    exchange: import("./exchange.js").Exchange;
    tell: (name: string, detail: any) => void;
    isOnline: () => boolean;
    clock: import("./clock.js").Clock;
    random: () => number;
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
     * @returns {Promise<void>}
     * @throws {LessSyncError} what will not pass
     */
    settled(): Promise<void>;
    /** End; what is under way ends first, or fails with the client. @returns {Promise<void>} */
    stop(): Promise<void>;
    #private;
}
import { LessSyncError } from "./errors.js";
