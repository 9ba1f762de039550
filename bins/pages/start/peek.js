/**
 * What leaves this browser for the server: a socket that keeps the last record it sent.
 *
 * It sees what the server will see, behind all encryption and in front of the network.
 */
import { decode } from "../client/cbor.js";

const SHOWN_BYTES = 96;

/** The last record that was sent, and to which space. @type {{ space: string, change: any } | undefined} */
let sent;

/** A WebSocket that looks at what it sends. */
export class WatchedSocket extends WebSocket {
  /** @param {any} data @override */
  send(data) {
    super.send(data);
    const frame = /** @type {any} */ (decode(data));
    const change = frame.method === "push" ? frame.params.changes.at(-1) : undefined;
    if (change?.blob) sent = { space: frame.params.space, change };
  }
}

/** In words: what there was to see of the last record. @returns {Record<string, string>} */
export function lastSent() {
  if (!sent) return { Record: "none was sent from this tab yet" };
  const { blob, id } = sent.change;
  const key = sent.change.wrapped_dek ?? sent.change.dek;
  return {
    Space: sent.space,
    Record: id,
    Content: `${blob.length} bytes: ${hex(blob.subarray(0, SHOWN_BYTES))}…`,
    "Its key": key ? `${key.length} bytes, wrapped: ${hex(key)}` : "as before",
  };
}

/** @param {Uint8Array} bytes */
function hex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
