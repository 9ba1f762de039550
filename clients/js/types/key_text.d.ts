/**
 * The line, without a line end. Whoever has it can read the space.
 *
 * @param {Uint8Array} secret 32 bytes
 * @returns {Promise<string>}
 */
export function keyText(secret: Uint8Array): Promise<string>;
/**
 * Read the line; white space around it is passed over.
 *
 * @param {string} text
 * @returns {Promise<Uint8Array>} 32 bytes
 * @throws {LessSyncError} `code` `no_key`: it is another text; `damaged_key`: mistyped or cut short
 */
export function parseKeyText(text: string): Promise<Uint8Array>;
/**
 * 8 hex digits to compare two keys by; they say nothing about the key.
 *
 * @param {Uint8Array} secret
 * @returns {Promise<string>}
 */
export function keyFingerprint(secret: Uint8Array): Promise<string>;
