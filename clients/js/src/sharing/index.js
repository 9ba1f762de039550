/**
 * Shared spaces: making one, letting people in and taking it back, and what their log says.
 *
 * @module
 */
export { isBundle, makeBundle, openBundle } from "./bundle.js";
export { enter, join, recover } from "./entering.js";
export { fetchKey, readLog, standing } from "./log_access.js";
export { accept, invite, mailbox, members } from "./people.js";
export { FilesLeft } from "./rewrapping.js";
export { rotate } from "./rotation.js";
export { createSpace, inviteToken, revoke, revokeTokens } from "./spaces.js";
export { epochsOf, grantOf, keyMap, keyOf, spaceKeysOf } from "./state.js";
