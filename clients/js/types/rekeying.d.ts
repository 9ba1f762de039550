/**
 * @param {import("./store.js").Store} store
 * @param {string} space
 * @param {import("./space_keys.js").SpaceKeys} keys  the new ones
 * @param {(write: (key: string, value: any) => void) => void} keep  writes the new key, in the same step
 * @returns {Promise<void>}
 * @throws {Refused} `another_key`: what is kept here was sent to the server under another key, or may have been
 */
export function rekey(store: import("./store.js").Store, space: string, keys: import("./space_keys.js").SpaceKeys, keep: (write: (key: string, value: any) => void) => void): Promise<void>;
