/**
 * Encrypted spaces in the browser and in Node, kept in step by a less-sync server.
 *
 * Apps begin with `LessSync.open`. `SyncClient` is for those who build something else on the protocol. The order
 * is that in which a bundle of them compresses best.
 */
export { IndexedDbStore } from "./indexed_db.js";
export { SyncClient } from "./sync_client.js";
export { SharedSpace } from "./shared_space.js";
export * from "./errors.js";
export { MemoryStore } from "./store.js";
export { Space } from "./space.js";
export { DeviceKey } from "./keys.js";
export { LessSync } from "./app.js";
