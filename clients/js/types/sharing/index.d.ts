export { FilesLeft } from "./rewrapping.js";
export { rotate } from "./rotation.js";
export { isBundle, makeBundle, openBundle } from "./bundle.js";
export { enter, join, recover } from "./entering.js";
export { fetchKey, readLog, standing } from "./log_access.js";
export { accept, invite, mailbox, members } from "./people.js";
export { createSpace, inviteToken, revoke, revokeTokens } from "./spaces.js";
export { epochsOf, grantOf, keyMap, keyOf, spaceKeysOf } from "./state.js";
