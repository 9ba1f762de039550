/**
 * The tabs of a browser that share one store: one of them syncs, and all hear what the others have changed.
 *
 * A Web Lock elects the one that syncs, of those that have a connection. The tab that is looked at takes the lock
 * over, as systems freeze tabs that are not; when the one that has it is closed, killed or offline the browser gives
 * it to the next. The others work on the store and say so through a BroadcastChannel. This saves work, and nothing
 * depends on it: where there are no locks every tab syncs, and as each step of the store starts from what is there,
 * two that do the same at once end with what one would have come to.
 */
/** @typedef {{ kind: "change", space: string, path: string, deleted: boolean } | { kind: "spaces" } |
 *   { kind: "waiting", space: string, waiting: number } |
 *   { kind: "settle" | "settled", space: string, id: string, error?: string }} TabMessage */
/** See the module. */
export class Tabs {
    /**
     * @param {string} name  of the store; empty: nobody else has it
     * @param {object} callbacks
     * @param {(leads: boolean) => void} callbacks.onLead  whether this tab is the one that syncs from now on
     * @param {(message: TabMessage) => void} callbacks.onMessage
     * @param {LockManager | undefined} [locks]
     */
    constructor(name: string, { onLead, onMessage }: {
        onLead: (leads: boolean) => void;
        onMessage: (message: TabMessage) => void;
    }, locks?: LockManager | undefined);
    leads: boolean;
    /**
     * Be one of those who may sync, or not.
     *
     * @param {boolean} stands
     * @param {boolean} [first]  before all others
     */
    stand(stands: boolean, first?: boolean): void;
    /** Tell the other tabs. @param {TabMessage} message */
    post(message: TabMessage): void;
    /** Lead no more, and hear nothing more. */
    close(): void;
    #private;
}
export type TabMessage = {
    kind: "change";
    space: string;
    path: string;
    deleted: boolean;
} | {
    kind: "spaces";
} | {
    kind: "waiting";
    space: string;
    waiting: number;
} | {
    kind: "settle" | "settled";
    space: string;
    id: string;
    error?: string;
};
