/** See the module. */
export class LessSync {
    /**
     * Open what is kept under a name, or begin it. Works without a connection but for the first time, when the
     * server has to say who the user is.
     *
     * @param {OpenOptions} options
     * @returns {Promise<LessSync>}
     * @throws {Refused} `another_key`: what is kept here was already synced with another personal key
     * @throws {import("./errors.js").LessSyncError} the first time: as `SyncClient.info`
     */
    static open(options: OpenOptions): Promise<LessSync>;
    /**
     * Use `open`.
     *
     * @param {OpenOptions} options
     * @param {{ store: Store, client: SyncClient, device: DeviceKey, secret: Uint8Array, identity: Identity }} parts
     */
    constructor(options: OpenOptions, { store, client, device, secret, identity }: {
        store: Store;
        client: SyncClient;
        device: DeviceKey;
        secret: Uint8Array;
        identity: Identity;
    });
    /** Where invitations for this user are left. */
    mailbox: string;
    /** The DID of this device's key. */
    get did(): string;
    /** The state of the connection: "offline", "connecting", "online", "refused" or "closed". */
    get state(): import("./keeper.js").State;
    /** The space of this user alone, on all their devices. */
    get personal(): Space;
    /** The shared spaces that are kept on this device. @returns {SharedSpace[]} */
    spaces(): SharedSpace[];
    /** @param {string} id @returns {Space | SharedSpace | undefined} */
    space(id: string): Space | SharedSpace | undefined;
    /**
     * Listen: `state`, `invitation`, `spaces` and `error`.
     *
     * @template {keyof AppEvents} N
     * @param {N} name
     * @param {(...values: AppEvents[N]) => unknown} listener
     * @returns {() => void} to listen no more
     */
    on<N extends keyof AppEvents>(name: N, listener: (...values: AppEvents[N]) => unknown): () => void;
    /**
     * Make a space that can be shared. Needs a connection.
     *
     * @returns {Promise<SharedSpace>}
     */
    createSpace(): Promise<SharedSpace>;
    /** What waits in this user's mailbox. @returns {Promise<Invitation[]>} */
    invitations(): Promise<Invitation[]>;
    /**
     * Take up an invitation: the space is kept on this device from then on.
     *
     * @param {Invitation} invitation
     * @param {{ force?: boolean }} [options]  take it even if what is had is better
     * @returns {Promise<SharedSpace>}
     * @throws {Refused} `access_is_better`, `another_root` ...
     */
    accept(invitation: Invitation, options?: {
        force?: boolean;
    }): Promise<SharedSpace>;
    /**
     * Enter a shared space by a bundle, the text that `space.inviteToken` makes.
     *
     * @param {string} bundle
     * @param {{ force?: boolean }} [options]  take it even if what is had is better
     * @returns {Promise<SharedSpace>}
     * @throws {Refused} it is no bundle for this device; and as `accept`
     */
    join(bundle: string, options?: {
        force?: boolean;
    }): Promise<SharedSpace>;
    /**
     * Forget a shared space on this device, with all that is kept of it; others keep it. The root key of a space that
     * was made here stays, unreadable for scripts. After a break, call it again.
     *
     * @param {string} id
     * @returns {Promise<void>}
     */
    forget(id: string): Promise<void>;
    /**
     * The personal key as text, for `open({ key })` on the user's other devices. Whoever has it can read the space.
     *
     * @returns {Promise<string>}
     */
    exportKey(): Promise<string>;
    /** Go offline until `resume`; everything else works on. */
    pause(): void;
    /** Go online again: after `pause`, or with another token after a refusal. */
    resume(): void;
    /** End. What is kept stays, and what waits is sent the next time. @returns {Promise<void>} */
    close(): Promise<void>;
    #private;
}
export type Store = import("./store.js").Store;
export type Identity = {
    space: string;
    mailbox: string;
};
export type Invitation = import("./sharing/people.js").Waiting;
export type OpenOptions = {
    /**
     * "https://sync.example.org"; `http` on this machine
     */
    server: string;
    /**
     * the user's token, or what gives a fresh one
     */
    token: import("./tokens.js").TokenSource;
    /**
     * of the store on this device; each user needs one of their own
     */
    name?: string | undefined;
    /**
     * kept from then on; made if there is none
     */
    device?: DeviceKey | undefined;
    /**
     * the personal key, as `exportKey` gives it on the user's first device
     */
    key?: string | undefined;
    /**
     * IndexedDB in browsers, memory in Node
     */
    store?: import("./store.js").Store | undefined;
    /**
     * decides about two versions of an entry
     */
    merge?: import("./entry.js").Merge | undefined;
    /**
     * content of more bytes goes to file storage; 256 KiB
     */
    largeAbove?: number | undefined;
    /**
     * for tests, as the rest
     */
    clock?: import("./clock.js").Clock | undefined;
    random?: (() => number) | undefined;
    now?: (() => Date) | undefined;
    WebSocket?: {
        new (url: string | URL, protocols?: string | string[]): WebSocket;
        prototype: WebSocket;
        readonly CONNECTING: 0;
        readonly OPEN: 1;
        readonly CLOSING: 2;
        readonly CLOSED: 3;
    } | undefined;
    fetch?: typeof fetch | undefined;
};
/**
 * `state`: that of the connection ("offline", "connecting", "online", "refused", "closed"), and why. `invitation`:
 * one has come. `spaces`: a shared space was added or removed. `error`: as of spaces; `space` says which.
 */
export type AppEvents = {
    state: [string, Error | undefined];
    invitation: [];
    spaces: [];
    error: [Error & {
        space?: string;
    }];
};
import { Space } from "./space.js";
import { SharedSpace } from "./shared_space.js";
import { SyncClient } from "./sync_client.js";
import { DeviceKey } from "./keys.js";
