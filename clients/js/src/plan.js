/**
 * What to do about one path, from three states: here, as both sides last had it, and on the server.
 *
 * The whole safety of a replica is this table: nothing is overwritten or deleted that the other side has not
 * seen. The same change on both sides is merely noted; different ones keep both contents: an edit beats a
 * deletion, and of two edits the one that reached the server first keeps the name. Pure.
 */

/**
 * A state of a record on the server. `digest` is the SHA-256 of the content in hex, null when it was deleted.
 *
 * @typedef {{ cursor: number, digest: string | null }} Remote
 */

/**
 * `note`: remember the server's state; what is here stays, and is pushed if it is another content. `take`: put
 * the server's content here. `delete`: remove it here. `both`: keep both contents.
 *
 * @typedef {"note" | "take" | "delete" | "both"} Action
 */

/**
 * @param {string | null} local  digest of what is here; null: nothing
 * @param {Remote | null} known  what both sides last had; null: they never agreed
 * @param {Remote} remote
 * @returns {Action}
 */
export function decide(local, known, remote) {
  const untouched = local !== null && known !== null && known.digest === local;
  if (remote.digest === null) {
    return untouched ? "delete" : "note";
  }
  if (local === remote.digest) {
    return "note";
  }
  const moved = !known || known.cursor !== remote.cursor || known.digest !== remote.digest;
  if (!moved) {
    return "note";
  }
  return local === null || untouched ? "take" : "both";
}
