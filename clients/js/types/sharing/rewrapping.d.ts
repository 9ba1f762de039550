/** There are files under former keys, and the token may not touch their keys. Everybody reads on. */
export class FilesLeft extends Refused {
    /**
     * @param {number} epoch
     * @param {number} files
     */
    constructor(epoch: number, files: number);
    epoch: number;
    files: number;
}
/** @typedef {{id: string, dek: Uint8Array}} Listed */
/** Wraps the keys of one space for one epoch. */
export class Rewrapper {
    /**
     * @param {object} options
     * @param {import("../sync_client.js").SyncClient} options.client
     * @param {SharedState} options.state
     * @param {number} options.epoch
     * @param {(name: string) => void | Promise<void>} options.step Told before each change of the server.
     * @param {Set<string>} options.undecryptable Takes the ids of whatever nobody here can open.
     */
    constructor({ client, state, epoch, step, undecryptable }: {
        client: import("../sync_client.js").SyncClient;
        state: SharedState;
        epoch: number;
        step: (name: string) => void | Promise<void>;
        undecryptable: Set<string>;
    });
    /**
     * Rewrap all that can be.
     *
     * @throws {FilesLeft} Records are done, files are not.
     * @throws {RequestFailed} `conflict`: something was written since it was listed, or the epoch is over;
     *   `bad_request`: a file was deleted since. Look again.
     */
    run(): Promise<void>;
    #private;
}
export type SharedState = import("./state.js").SharedState;
export type Listed = {
    id: string;
    dek: Uint8Array;
};
import { Refused } from "../errors.js";
