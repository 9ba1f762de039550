/**
 * @typedef {object} Address
 * @property {string} webSocket of the protocol.
 * @property {string} http what the paths of files are appended to.
 */
/**
 * Read the address of a server.
 *
 * @param {string} server `https://sync.example.org`, also with `http`, `ws` or `wss`, with a path where a
 *   proxy has it, or with the route of the WebSocket at its end.
 * @returns {Address}
 * @throws {Refused} `invalid_server`: it is none, or has a query, a fragment or a password.
 */
export function addressOf(server: string): Address;
export type Address = {
    /**
     * of the protocol.
     */
    webSocket: string;
    /**
     * what the paths of files are appended to.
     */
    http: string;
};
