/** Subscribing one space: what the answer means. */

import { RequestFailed } from "./errors.js";

/**
 * Hear of a space from now on, and see where it stands.
 *
 * @param {import("./sync_client.js").SyncClient} client
 * @param {{id: string, since?: number, ucan?: string | undefined, presence?: boolean}} entry
 * @param {() => Error} lost  the space does not let us in (any more): `forbidden` here means that and nothing else
 * @returns {Promise<import("./shapes.js").SubscribedSpace>}
 * @throws {RequestFailed} any other refusal, or an answer about another space
 */
export async function subscribed(client, entry, lost) {
  const { spaces, errors } = await client.subscribe([entry]);
  const [found] = spaces;
  const refusal = errors[0]?.error;
  if (refusal === "forbidden") throw lost();
  if (refusal || !found) throw new RequestFailed(refusal ?? "internal", "the server does not show the space");
  return found;
}
