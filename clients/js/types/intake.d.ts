/** The records of a space were written with another key; nothing was changed. */
export class KeyMismatch extends LessSyncError {
    /** @param {number} records */
    constructor(records: number);
}
declare const Intake_base: new <P>(parts: P) => Readonly<P>;
/**
 * @typedef {object} IntakeParts
 * @property {import("./kept.js").Kept} kept
 * @property {import("./space_keys.js").SpaceKeys} keys
 * @property {(name: string, detail: any) => void} tell
 * @property {import("./entry.js").Merging} merging
 * @property {() => boolean} mayPush
 * @property {() => Date} now  names conflict copies
 */
/**
 * See the module.
 *
 * @extends {MadeOf<IntakeParts>}
 */
export class Intake extends Intake_base {
    constructor(parts: IntakeParts);
    rolledBack: number;
    /** Begin a pull: what an earlier one has left undone will come again. */
    start(): void;
    /**
     * Take records in.
     *
     * @param {readonly Incoming[]} records
     * @throws {import("./errors.js").QuotaExceeded} no room; the records will come again
     */
    receive(records: readonly Incoming[]): Promise<void>;
    /**
     * Name what could not be opened, and remember that.
     *
     * @throws {KeyMismatch} nothing could be, and nothing ever was
     */
    finish(): Promise<void>;
    #private;
}
export type Row = import("./rows.js").Row;
export type Content = import("./rows.js").Content;
export type Remote = import("./plan.js").Remote;
export type PlainPath = import("./plaintext.js").PlainPath;
export type PlainContent = import("./plaintext.js").PlainContent;
/**
 * A record as the server gives it, in a pull or an announcement.
 */
export type Incoming = {
    id: string;
    cursor: number;
    blob?: Uint8Array<ArrayBufferLike> | undefined;
    dek?: Uint8Array<ArrayBufferLike> | undefined;
    deleted?: boolean | undefined;
};
/**
 * A record that was looked into.
 */
export type Opened = {
    id: string;
    cursor: number;
} & ({
    kind: "tombstone" | "undecryptable" | "other";
} | {
    kind: "refused";
    reason: string;
    path: string;
} | {
    kind: "content";
    content: PlainContent;
} | {
    kind: "path";
    plain: PlainPath;
    digest: string | null;
});
export type OpenedPath = Opened & {
    kind: "path";
};
export type IntakeParts = {
    kept: import("./kept.js").Kept;
    keys: import("./space_keys.js").SpaceKeys;
    tell: (name: string, detail: any) => void;
    merging: import("./entry.js").Merging;
    mayPush: () => boolean;
    /**
     * names conflict copies
     */
    now: () => Date;
};
import { LessSyncError } from "./errors.js";
export {};
