/** Encrypted spaces in the browser and in Node, kept in step by a less-sync server. */
export {};
