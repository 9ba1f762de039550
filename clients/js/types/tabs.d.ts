/**
 * The tabs of a browser that share one store: one of them syncs, and all hear what the others have changed.
 *
 * A Web Lock elects the one that syncs; when its tab is closed or killed the browser gives the lock to the next.
 * The others work on the store and say so through a BroadcastChannel. This saves work, and nothing depends on it:
 * where there are no locks every tab syncs, and as each step of the store starts from what is there, two that do
 * the same at once end with what one would have come to.
 */
/** @typedef {{ kind: "change", space: string, path: string, deleted: boolean } | { kind: "spaces" } |
 *   { kind: "settle" | "settled", space: string, id: string, error?: string }} TabMessage */
/** See the module. */
export class Tabs {
    /**
     * @param {string} name  of the store; empty: nobody else has it
     * @param {object} callbacks
     * @param {() => void} callbacks.onLead  this tab is the one that syncs from now on
     * @param {(message: TabMessage) => void} callbacks.onMessage
     * @param {LockManager | undefined} [locks]
     */
    constructor(name: string, { onLead, onMessage }: {
        onLead: () => void;
        onMessage: (message: TabMessage) => void;
    }, locks?: LockManager | undefined);
    leads: boolean;
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
    kind: "settle" | "settled";
    space: string;
    id: string;
    error?: string;
};
