/**
 * Encrypted spaces in the browser and in Node, kept in step by a less-sync server.
 *
 * Apps begin with `LessSync.open`. `SyncClient` is for those who build something else on the protocol.
 */
import {} from "./layout.js";

export { LessSync } from "./app.js";
export { Space } from "./space.js";
export { SharedSpace } from "./shared_space.js";
export { MemoryStore } from "./store.js";
export { IndexedDbStore } from "./indexed_db.js";
export { DeviceKey } from "./keys.js";
export { SyncClient } from "./sync_client.js";
export * from "./errors.js";
