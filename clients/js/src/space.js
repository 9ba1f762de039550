/**
 * One space as an app uses it: entries by path, kept here and brought into agreement with the server.
 *
 * `put`, `delete`, `get` and `list` work on what is here, at once and without a network; what changed is sent
 * when there is one. Paths are like those of files: names separated by `/`, in Unicode normal form C.
 */

/**
 * What is at a path.
 *
 * @typedef {object} Entry
 * @property {string} path
 * @property {number} size  bytes
 * @property {Date} mtime  when it was last written, by the clock of who wrote it
 * @property {Uint8Array} bytes  empty for a large entry that `list` gives: `get` fetches it
 * @property {boolean} large  whether the content is kept apart and may have to be fetched
 * @property {() => string} text  the bytes as UTF-8; throws TypeError if they are none
 * @property {() => any} json  the bytes as JSON; throws SyntaxError if they are none
 */

/**
 * Two versions of one entry that do not follow each other; undefined: deleted, or never there.
 *
 * @typedef {object} Versions
 * @property {Uint8Array | undefined} base  what both sides had
 * @property {Uint8Array} mine
 * @property {Uint8Array} theirs
 */

/**
 * Decides about two versions: returns what is to be there (bytes, text or a JSON value), or undefined to keep
 * both, the one from here as a conflict copy. May be asked again about the same pair.
 *
 * @typedef {(path: string, versions: Versions) => any} Merge
 */

/**
 * An entry has changed, by us or by others.
 *
 * @typedef {object} ChangeEvent
 * @property {string} path
 * @property {boolean} deleted
 * @property {"local" | "remote"} origin
 */

/**
 * @typedef {object} SpaceStatus
 * @property {boolean} online  whether the server is connected and the space subscribed
 * @property {number} pending  entries that wait to be sent
 * @property {boolean} lost  a shared space does not let us in (any more); what is here stays
 */

/**
 * See the module. `app.space(id)` and `app.personal` give it.
 *
 *     await space.put(path, bytes | string | JSON value | Blob)   resolves when it is kept here
 *     await space.get(path) -> Entry | undefined
 *     await space.delete(path) -> boolean
 *     await space.list(prefix) -> Entry[]
 *     space.on("change" | "status" | "event" | "error", listener) -> off
 *     space.status -> SpaceStatus
 *     await space.settled()          nothing waits to be sent, and everything there was is here
 *     space.presence.set(value) / clear() / on(listener) / here();  space.send(value)
 *     await space.members() / invite(person) / revoke(did) / rotate({ remove })
 *
 * For sharing, `space.context` is `{ client, device, space, shared }`, where `shared` keeps the SharedState of the
 * space: `await shared.load()` and `await shared.update((state) => newState)`, which is one step of the store.
 */
export class Space {}
