/** @typedef {import("./sharing/state.js").Ctx} Ctx */
/** @typedef {import("./sharing/state.js").SharedState} SharedState */
/** Largest sealed bytes of what is shown: room for about 500 bytes of text. */
export const PRESENCE_BYTES_MAX: 1024;
/** Largest sealed bytes of a message: room for about 2,800 bytes of text. */
export const EVENT_BYTES_MAX: 4096;
/** How often we say that we are still there. */
export const HEARTBEAT_MS: 25000;
/** Shown again at most every so often, whatever is set: the server drops more than 50 a second. */
export const GAP_MS: 50;
/** Peers that are kept in mind; a server lets 100 be present. */
export const PEERS_MAX: 1000;
/** Messages that wait to be opened; more are dropped. */
export const EVENTS_MAX: 1000;
/**
 * Somebody who is there, or who says something: whose key has signed it. `peer` is the connection's
 * pseudonym: one person may be there with several devices.
 *
 * @typedef {object} Shown
 * @property {string} peer
 * @property {string} did
 * @property {string} text
 */
/** @typedef {{here: [Shown], left: [Shown], event: [Shown]}} PresenceEvents */
/**
 * Presence in one shared space.
 *
 *     const presence = new Presence(ctx);
 *     presence.on("here", ({ did, text }) => ...);   // somebody came, or shows something else
 *     presence.on("left", ({ did }) => ...);
 *     presence.on("event", ({ did, text }) => ...);  // a message
 *     await presence.open();
 *     presence.set("reading page 4");
 */
export class Presence {
    /**
     * @param {Ctx} ctx
     * @param {{clock?: import("./clock.js").Clock}} [options]
     */
    constructor(ctx: Ctx, { clock }?: {
        clock?: import("./clock.js").Clock;
    });
    /**
     * Listen.
     *
     * @template {keyof PresenceEvents} N
     * @param {N} name
     * @param {(...values: PresenceEvents[N]) => unknown} listener
     * @returns {() => void} To listen no more.
     */
    on<N extends keyof PresenceEvents>(name: N, listener: (...values: PresenceEvents[N]) => unknown): () => void;
    /**
     * Hear of the others from now on, and of who is there already.
     *
     * @returns {Promise<void>}
     * @throws {AccessLost} The space does not let us in.
     * @throws {ConnectFailed} We are offline.
     */
    open(): Promise<void>;
    /** Be there no more, and hear no more. */
    close(): void;
    /**
     * Who is there now, ourselves left out.
     *
     * @returns {Shown[]}
     */
    here(): Shown[];
    /**
     * Be there and show a text, until `clear`: also after reconnects. Of many in a short time the last is
     * shown.
     *
     * @param {string} text
     * @throws {Refused} `too_long`: more than 500 bytes of UTF-8.
     */
    set(text: string): void;
    /** Be there no more; the others are still heard of. */
    clear(): void;
    /**
     * Send one text to whoever listens now, once we are open. Nobody tells whether it arrived.
     *
     * @param {string} text
     * @returns {Promise<void>}
     * @throws {Refused} `too_long`
     * @throws {ConnectFailed} We are offline.
     */
    send(text: string): Promise<void>;
    #private;
}
export type Ctx = import("./sharing/state.js").Ctx;
export type SharedState = import("./sharing/state.js").SharedState;
/**
 * Somebody who is there, or who says something: whose key has signed it. `peer` is the connection's
 * pseudonym: one person may be there with several devices.
 */
export type Shown = {
    peer: string;
    did: string;
    text: string;
};
export type PresenceEvents = {
    here: [Shown];
    left: [Shown];
    event: [Shown];
};
