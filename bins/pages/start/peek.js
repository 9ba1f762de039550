/** What the server has of a list: asked of it, as anybody who ran it could ask. */

const SHOWN_BYTES = 96;

/**
 * The newest record of a space as the server keeps it.
 *
 * @param {any} list
 * @returns {Promise<Record<string, string>>} words for what there is, to what it is
 */
export async function sealedOf(list) {
  const { client, space, shared } = list.context;
  const { ucan } = await shared.load();
  let newest;
  for await (const event of client.pull(space, 0, { ucan })) {
    if (event.kind === "record") newest = event;
  }
  if (!newest) return { Record: "none yet" };
  return {
    Space: space,
    Record: newest.id,
    Cursor: String(newest.cursor),
    Content: `${newest.blob.length} bytes: ${hex(newest.blob.subarray(0, SHOWN_BYTES))}…`,
    "Its key": `${newest.dek.length} bytes, wrapped: ${hex(newest.dek)}`,
  };
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
