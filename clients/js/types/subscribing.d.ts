/**
 * Hear of a space from now on, and see where it stands.
 *
 * @param {import("./sync_client.js").SyncClient} client
 * @param {{id: string, since?: number, ucan?: string | undefined, presence?: boolean}} entry
 * @param {() => Error} lost  the space does not let us in (any more): `forbidden` here means that and nothing else
 * @returns {Promise<import("./shapes.js").SubscribedSpace>}
 * @throws {RequestFailed} any other refusal, or an answer about another space
 */
export function subscribed(client: import("./sync_client.js").SyncClient, entry: {
    id: string;
    since?: number;
    ucan?: string | undefined;
    presence?: boolean;
}, lost: () => Error): Promise<import("./shapes.js").SubscribedSpace>;
