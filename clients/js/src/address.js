/** Where a server has its routes. */

import { Refused } from "./errors.js";

const ROUTE = "/api/v1";

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
export function addressOf(server) {
  const wrong = new Refused("invalid_server", "no address like https://example.org");
  let url;
  try {
    url = new URL(server);
  } catch {
    throw wrong;
  }
  const secure = { "http:": false, "ws:": false, "https:": true, "wss:": true }[url.protocol];
  if (secure === undefined || url.search || url.hash || url.username || url.password) throw wrong;
  const path = url.pathname.replace(/(?:\/api\/v1\/ws)?\/*$/, "");
  return {
    webSocket: `${secure ? "wss" : "ws"}://${url.host}${path}${ROUTE}/ws`,
    http: `${secure ? "https" : "http"}://${url.host}${path}${ROUTE}`,
  };
}
