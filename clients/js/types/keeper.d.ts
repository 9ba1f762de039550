export class Keeper {
    /**
     * @param {{url: string, WebSocket: typeof globalThis.WebSocket, tokens: import("./tokens.js").Tokens,
     *   clock: import("./clock.js").Clock, random: () => number, limits: import("./limits.js").Limits}} options
     * @param {(name: "state" | "notice" | "online", ...values: any[]) => void} emit
     */
    constructor(options: {
        url: string;
        WebSocket: typeof globalThis.WebSocket;
        tokens: import("./tokens.js").Tokens;
        clock: import("./clock.js").Clock;
        random: () => number;
        limits: import("./limits.js").Limits;
    }, emit: (name: "state" | "notice" | "online", ...values: any[]) => void);
    /** What ended the last connection, or the last attempt. @type {LessSyncError | undefined} */
    trouble: LessSyncError | undefined;
    /** By the id they were subscribed with: again after each loss. @type {Map<string, Subscription>} */
    subscriptions: Map<string, Subscription>;
    /** @returns {State} */
    get state(): State;
    /**
     * Begin to connect, if that has not begun, and wait until it has come to something.
     *
     * @returns {Promise<void>}
     * @throws {TokenRefused | ClientClosed | ConnectFailed}
     */
    open(): Promise<void>;
    /**
     * Disconnect, and come back when `open` is called.
     */
    pause(): void;
    /** Disconnect for good. */
    close(): void;
    /**
     * The present connection, or the next one if it comes in time.
     *
     * @param {string} method that needs it.
     * @returns {Promise<Connection>}
     * @throws {ConnectFailed} none came in time, or the client is paused.
     * @throws {TokenRefused | ClientClosed}
     */
    ready(method: string): Promise<Connection>;
    /**
     * A fresh token of the source, with its proof.
     *
     * @returns {Promise<import("./tokens.js").Credentials>}
     * @throws {import("./errors.js").TokenUnavailable}
     */
    credentials(): Promise<import("./tokens.js").Credentials>;
    /** The present connection, if there is one. */
    get connection(): Connection | undefined;
    #private;
}
export type State = "offline" | "connecting" | "online" | "refused" | "closed";
export type Subscription = {
    id: string;
    since: number;
    ucan?: string;
    presence?: boolean;
};
/**
 * What came of subscribing again.
 */
export type Standing = {
    spaces: import("./shapes.js").SubscribedSpace[];
    errors: {
        space: string;
        error: string;
    }[];
};
export type Run = {
    stopped: boolean;
    wake: () => void;
    connection?: Connection;
};
import { LessSyncError } from "./errors.js";
import { Connection } from "./connection.js";
