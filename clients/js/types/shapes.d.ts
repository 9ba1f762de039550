/**
 * A copy of a value that has a shape, with what the shape knows.
 *
 * @param {unknown} value
 * @param {Shape} shape
 * @param {string} what it is, for the error.
 * @returns {any}
 * @throws {NotThisProtocol} it has another.
 */
export function shaped(value: unknown, shape: Shape, what: string): any;
/** Results by method; what is not here has any shape of an object. @type {Record<string, Shape>} */
export const RESULTS: Record<string, Shape>;
export namespace CHUNKED {
    let _chunks: "int";
}
/** Chunks by name. @type {Record<string, Shape>} */
export const CHUNKS: Record<string, Shape>;
/** Notifications of the server by method. @type {Record<string, Shape>} */
export const NOTICES: Record<string, Shape>;
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type Bytes = import("./bytes.js").Bytes;
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type Peer = {
    peer: string;
    data: Bytes;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type SubscribedSpace = {
    id: string;
    cursor: number;
    key_generation: number;
    rewrap_epoch?: number;
    peers?: Peer[];
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type MemberEntry = {
    chain_seq: number;
    prev_hash?: Bytes;
    entry_hash: Bytes;
    payload: Bytes;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type Invitation = {
    id: string;
    payload: string;
    created_at: string;
    expires_at: string;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type SessionInfo = {
    space: string;
    mailbox: string;
    did: string;
    scopes: string[];
    expires_at: number;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type PushResult = {
    ok: boolean;
    cursor?: number;
    error?: string;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type PullBegin = {
    kind: "begin";
    space: string;
    prev: number;
    cursor: number;
    key_generation: number;
    rewrap_epoch?: number;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type PullRecord = {
    kind: "record";
    space: string;
    id: string;
    blob?: Bytes;
    cursor: number;
    dek?: Bytes;
    deleted?: boolean;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type PullMembership = {
    kind: "membership";
    space: string;
    cursor: number;
    entries: MemberEntry[];
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type PullFile = {
    kind: "file";
    space: string;
    id: string;
    record_id: string;
    size?: number;
    dek: Bytes;
    cursor: number;
    deleted?: boolean;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type PullCommit = {
    kind: "commit";
    space: string;
    prev: number;
    cursor: number;
    count: number;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type PullEvent = PullBegin | PullRecord | PullMembership | PullFile | PullCommit;
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type SyncRecord = {
    id: string;
    blob?: Bytes;
    cursor: number;
    dek?: Bytes;
    deleted?: boolean;
};
/**
 * The shapes of what the server sends: what docs/protocol.md 7 and 9 say, checked before anybody uses it.
 *
 * Members the shape does not know are dropped, so a newer server may send more (docs/protocol.md 3.5).
 */
export type FileChange = {
    id: string;
    record_id: string;
    size?: number;
    dek?: Bytes;
    deleted?: boolean;
};
export type Leaf = "text" | "int" | "bytes" | "bool";
/**
 * A list holds the shape of its items; a "?" ends the names of members that may be missing.
 */
export type Shape = Leaf | readonly unknown[] | {
    readonly [member: string]: unknown;
};
