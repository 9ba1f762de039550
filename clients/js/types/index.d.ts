export { IndexedDbStore } from "./indexed_db.js";
export { SyncClient } from "./sync_client.js";
export { SharedSpace } from "./shared_space.js";
export * from "./errors.js";
export { MemoryStore } from "./store.js";
export { Space } from "./space.js";
export { DeviceKey } from "./keys.js";
export { LessSync } from "./app.js";
