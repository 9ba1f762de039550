/** A TCP proxy before the real server: it can fall silent, and sees what the server sends frame by frame. */

import { once } from "node:events";
import { connect, createServer } from "node:net";

/** Cuts a server's stream into the answer to the upgrade and frames, unmasked (RFC 6455, 5.2). */
class Frames {
  #bytes = Buffer.alloc(0);
  #upgraded = false;

  /**
   * @param {Buffer} bytes
   * @returns {Buffer[]} whole frames, their heads included.
   */
  take(bytes) {
    this.#bytes = Buffer.concat([this.#bytes, bytes]);
    const whole = [];
    for (let size = this.#size(); size > 0 && size <= this.#bytes.length; size = this.#size()) {
      whole.push(this.#bytes.subarray(0, size));
      this.#bytes = this.#bytes.subarray(size);
      this.#upgraded = true;
    }
    return whole;
  }

  /** Of what comes next; 0: that cannot be told yet. */
  #size() {
    const bytes = this.#bytes;
    if (!this.#upgraded) return bytes.indexOf("\r\n\r\n") + 4 === 3 ? 0 : bytes.indexOf("\r\n\r\n") + 4;
    if (bytes.length < 10) {
      const short = bytes.length < 2 ? 127 : Number(bytes[1]);
      return short < 126 ? 2 + short : short === 126 && bytes.length >= 4 ? 4 + bytes.readUInt16BE(2) : 0;
    }
    const short = Number(bytes[1]);
    if (short === 127) return 10 + Number(bytes.readBigUInt64BE(2));
    return short === 126 ? 4 + bytes.readUInt16BE(2) : 2 + short;
  }
}

/**
 * Relay until the test ends.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} server
 * @param {(frame: Buffer, send: (frame: Buffer) => void) => void} [onFrame] instead of sending it on.
 */
export async function frameProxy(t, server, onFrame = (frame, send) => send(frame)) {
  const target = Number(new URL(server).port);
  /** @type {Set<import("node:net").Socket>} */
  const sockets = new Set();
  /** Connections that were made before are not relayed any more, and not closed either. */
  let silence = 0;
  let made = 0;
  const proxy = createServer((near) => {
    const number = (made += 1);
    const far = connect(target, "127.0.0.1");
    const frames = new Frames();
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
    }
    near.on("data", (bytes) => number > silence && far.write(bytes));
    far.on("data", (bytes) => {
      for (const frame of frames.take(bytes)) {
        if (number > silence) onFrame(frame, (sent) => void near.write(sent));
      }
    });
    near.on("close", () => far.destroy());
    far.on("close", () => number > silence && near.destroy());
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    proxy.close();
  });
  const { port } = /** @type {import("node:net").AddressInfo} */ (proxy.address());
  return {
    server: `http://127.0.0.1:${port}`,
    fallSilent: () => {
      silence = made;
    },
    /** How many connections there were. */
    get made() {
      return made;
    },
  };
}
