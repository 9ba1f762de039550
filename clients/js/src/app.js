/**
 * The way in: one user's spaces at one server, with all that is kept on this device.
 *
 *     const app = await LessSync.open({ server, token, name: "todo" });
 *     app.did, app.mailbox                     who we are here, as far as the server has told
 *     app.personal                             the Space of this user alone
 *     app.spaces() -> Space[]; app.space(id) -> Space | undefined
 *     await app.createSpace() -> Space         one that can be shared
 *     await app.invitations(); await app.accept(invitation) -> Space; await app.inviteToken()
 *     app.exportKey() -> text                  what the user's other devices need: `open({ key })`
 *     app.pause(); app.resume()                the offline switch
 *     app.on("state" | "invitation" | "spaces" | "error", listener) -> off
 *     await app.close()
 */

/**
 * @typedef {object} OpenOptions
 * @property {string} server  "http(s)://host[:port]"
 * @property {string | (() => Promise<string>)} token  the user's token, or what gives a fresh one
 * @property {string} name  of the app's store on this device; another user needs another name
 * @property {import("./keys.js").DeviceKey} [device]  kept from then on; made if there is none
 * @property {string} [key]  the personal key, as `exportKey` gives it on another device
 * @property {import("./store.js").Store} [store]  IndexedDB in browsers, memory in Node
 * @property {import("./space.js").Merge} [merge]  decides about two versions of an entry
 * @property {number} [largeAbove]  content of more bytes goes to file storage; 256 KiB
 */

/** See the module. */
export class LessSync {
  /**
   * @param {OpenOptions} options
   * @returns {Promise<LessSync>}
   */
  static async open(options) {
    throw new Error(`${options.name}: being built`);
  }
}
