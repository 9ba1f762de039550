/** @typedef {import("./sharing/state.js").Ctx} Ctx */
/**
 * Somebody who is there: `text` is what they show, `json` reads it. One person may be there with several devices,
 * which `peer` tells apart.
 *
 * @typedef {import("./presence.js").Shown & { json: () => any }} Person
 */
/** See the module. `app.createSpace`, `app.accept` and `app.space(id)` give it. */
export class SharedSpace extends Space {
    /**
     * The space whose state is kept; undefined: none is.
     *
     * @param {Omit<import("./space.js").SpaceParts, "keys" | "access">} parts
     * @param {Ctx} context
     */
    static load(parts: Omit<import("./space.js").SpaceParts, "keys" | "access">, context: Ctx): Promise<SharedSpace | undefined>;
    /**
     * Use `load`.
     *
     * @param {Omit<import("./space.js").SpaceParts, "keys" | "access">} parts
     * @param {Ctx} context
     * @param {import("./sharing/state.js").SharedState} state
     * @param {import("./sharing/state.js").Permission} permission
     */
    constructor(parts: Omit<import("./space.js").SpaceParts, "keys" | "access">, context: Ctx, state: import("./sharing/state.js").SharedState, permission: import("./sharing/state.js").Permission);
    /** What we may do: "read", "write" or "admin". */
    get permission(): import("./ucan.js").Permission;
    /**
     * What is shown to the other members while this app runs, and who else is there; nothing of it is stored. Values
     * are text or what JSON can say, of about 500 bytes. `on` tells who is there now, whenever that changes.
     */
    presence: {
        /** @param {any} value */
        set: (value: any) => void;
        clear: () => void;
        /** @returns {Person[]} */
        here: () => Person[];
        /** @param {(here: Person[]) => void} listener @returns {() => void} to listen no more */
        on: (listener: (here: Person[]) => void) => () => void;
    };
    /**
     * Say something to the members who are there now: `space.on("event", ...)` with them. Nothing of it is stored,
     * and nobody tells whether it arrived.
     *
     * @param {any} value  text, or what JSON can say; about 2,800 bytes
     * @returns {Promise<void>}
     * @throws {Refused} `too_long`
     */
    send(value: any): Promise<void>;
    /** The access was replaced, or is gone. @returns {Promise<boolean>} false: nothing is kept of the space any more */
    refresh(): Promise<boolean>;
    /**
     * Who is in the space, and who was invited from here and has not joined yet.
     *
     * @returns {Promise<import("./sharing/people.js").Person[]>}
     */
    members(): Promise<import("./sharing/people.js").Person[]>;
    /**
     * Let somebody in: a bundle of access and keys is left in their mailbox, sealed for them.
     *
     * @param {{ did: string, mailbox: string, permission?: import("./ucan.js").Permission, expiresAt?: number }}
     *   person  `expiresAt` in Unix seconds, 90 days from now unless given; `permission` "write" unless given
     * @returns {Promise<void>}
     * @throws {Refused} `bad_did`, `not_allowed` ...
     */
    invite(person: {
        did: string;
        mailbox: string;
        permission?: import("./ucan.js").Permission;
        expiresAt?: number;
    }): Promise<void>;
    /**
     * The same as text, to be handed over by other means: `app.join(text)` there.
     *
     * @param {{ did: string, permission?: import("./ucan.js").Permission, expiresAt?: number }} person
     * @returns {Promise<string>}
     */
    inviteToken(person: {
        did: string;
        permission?: import("./ucan.js").Permission;
        expiresAt?: number;
    }): Promise<string>;
    /**
     * Take back what was handed out from here to a person: they are out at once. `rotate({ remove: [did] })` also
     * keeps what is written from then on unreadable to them.
     *
     * @param {string} did
     * @returns {Promise<void>}
     * @throws {Refused} `nothing_to_revoke`
     */
    revoke(did: string): Promise<void>;
    /**
     * Give the space a new key, which nobody gets who is removed. After a break, it goes on where it was.
     *
     * @param {{ remove?: string[] }} [options]
     * @returns {Promise<void>}
     */
    rotate(options?: {
        remove?: string[];
    }): Promise<void>;
    #private;
}
export type Ctx = import("./sharing/state.js").Ctx;
/**
 * Somebody who is there: `text` is what they show, `json` reads it. One person may be there with several devices,
 * which `peer` tells apart.
 */
export type Person = import("./presence.js").Shown & {
    json: () => any;
};
import { Space } from "./space.js";
