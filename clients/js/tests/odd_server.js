/**
 * A WebSocket server that says whatever a test wants (RFC 6455, as much of it as that takes). It is for what
 * the real server never does.
 */

import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { decode, encode } from "../src/cbor.js";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** One connection: `frames` are the CBOR maps that came. */
export class OddConnection {
  /** @type {any[]} */
  frames = [];
  /** The close code that came, if one did. @type {number | undefined} */
  closed;
  #bytes = Buffer.alloc(0);

  /**
   * @param {import("node:stream").Duplex} socket
   * @param {(connection: OddConnection, frame: any) => void} onFrame
   */
  constructor(socket, onFrame) {
    this.socket = socket;
    this.onFrame = onFrame;
    socket.on("error", () => {});
    socket.on("data", (bytes) => this.#take(bytes));
  }

  /** @param {unknown} value */
  send(value) {
    this.binary(encode(value));
  }

  /** @param {string} id @param {unknown} result */
  answer(id, result) {
    this.send({ type: 1, id, result });
  }

  /** @param {Uint8Array} bytes */
  binary(bytes) {
    this.raw(0x82, bytes);
  }

  /** @param {number} code @param {string} [reason] */
  close(code, reason = "") {
    const head = Buffer.alloc(2);
    head.writeUInt16BE(code);
    this.raw(0x88, Buffer.concat([head, Buffer.from(reason)]));
    this.socket.end();
  }

  /** @param {number} opcode with the bit of a whole message @param {Uint8Array} bytes */
  raw(opcode, bytes) {
    const head = Buffer.alloc(10);
    head[0] = opcode;
    head[1] = 127;
    head.writeBigUInt64BE(BigInt(bytes.length), 2);
    const short = Buffer.from([opcode, bytes.length]);
    const middle = Buffer.from([opcode, 126, bytes.length >> 8, bytes.length & 255]);
    const fit = bytes.length < 126 ? short : bytes.length < 65536 ? middle : head;
    if (this.socket.writable) this.socket.write(Buffer.concat([fit, bytes]));
  }

  /** @param {Buffer} bytes */
  #take(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    for (let frame = this.#next(); frame !== undefined; frame = this.#next()) {
      if (frame.opcode === 8) this.closed = frame.payload.length > 1 ? frame.payload.readUInt16BE() : 1005;
      if (frame.opcode !== 2) continue;
      const value = decode(frame.payload);
      this.frames.push(value);
      this.onFrame(this, value);
    }
  }

  /** A client's frame, which is masked; undefined: it is not all there. */
  #next() {
    const bytes = this.#bytes;
    if (bytes.length < 2) return undefined;
    const short = /** @type {number} */ (bytes[1]) & 127;
    const more = short === 126 ? 2 : short === 127 ? 8 : 0;
    const start = 2 + more + 4;
    if (bytes.length < start) return undefined;
    const size = more === 2 ? bytes.readUInt16BE(2) : more === 8 ? Number(bytes.readBigUInt64BE(2)) : short;
    if (bytes.length < start + size) return undefined;
    const mask = bytes.subarray(start - 4, start);
    const payload = Buffer.from(bytes.subarray(start, start + size));
    for (let at = 0; at < size; at++) payload[at] = Number(payload[at]) ^ Number(mask[at % 4]);
    this.#bytes = bytes.subarray(start + size);
    return { opcode: Number(bytes[0]) & 15, payload };
  }
}

/** Answer `subscribe` as a server does that lets everybody in, and nothing else. @type {OnFrame} */
export function lettingIn(connection, frame) {
  if (frame.method !== "subscribe") return;
  const standing = { cursor: 5, key_generation: 1 };
  const spaces = frame.params.spaces.map((/** @type {any} */ { id }) => ({ id, ...standing }));
  connection.answer(frame.id, { spaces });
}

/** @typedef {(connection: OddConnection, frame: any) => void} OnFrame */

/**
 * Serve until the test ends.
 *
 * @param {import("node:test").TestContext} t
 * @param {OnFrame} onFrame what to do with a message.
 * @param {{protocol?: string, upgrade?: boolean}} [options] the subprotocol to answer; whether to answer.
 */
export async function oddServer(t, onFrame, { protocol = "betterbase-rpc-v1", upgrade = true } = {}) {
  /** @type {OddConnection[]} */
  const all = [];
  const http = createServer((request, response) => void response.writeHead(404).end());
  http.on("upgrade", (request, socket) => {
    const connection = new OddConnection(socket, onFrame);
    all.push(connection);
    if (!upgrade) return;
    const key = createHash("sha1").update(request.headers["sec-websocket-key"] + GUID).digest("base64");
    const head = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"];
    if (protocol) head.push(`Sec-WebSocket-Protocol: ${protocol}`);
    socket.write([...head, `Sec-WebSocket-Accept: ${key}`, "", ""].join("\r\n"));
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  t.after(() => {
    for (const { socket } of all) socket.destroy();
    http.close();
  });
  const { port } = /** @type {import("node:net").AddressInfo} */ (http.address());
  return { server: `http://127.0.0.1:${port}`, connections: all, http };
}
