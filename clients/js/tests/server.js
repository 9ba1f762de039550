/**
 * The server that the test run has started, and what only its side can do.
 *
 * A file that imports this needs the harness: `make test ARGS='tests/js -k NAME'`.
 */
import { connect } from "node:net";

/** Its address, "http://127.0.0.1:PORT". */
export const server = process.env.LESS_SYNC_SERVER ?? "";

/** @param {Record<string, unknown>} order @returns {Promise<any>} */
function ask(order) {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(process.env.LESS_SYNC_CONTROL), "127.0.0.1");
    let answer = "";
    socket.setEncoding("utf8");
    socket.on("error", reject);
    socket.on("data", (piece) => (answer += piece));
    socket.on("end", () => (answer ? resolve(JSON.parse(answer)) : reject(new Error(`refused: ${order.do}`))));
    socket.end(`${JSON.stringify(order)}\n`);
  });
}

/**
 * A token for any user. Members of `claims` override those of the token (`{ did }`), null leaves one out,
 * `exp_in` is its life in seconds.
 *
 * @param {string} user
 * @param {Record<string, unknown>} [claims]
 * @returns {Promise<string>}
 */
export async function token(user, claims) {
  return (await account(user, claims)).token;
}

/**
 * The same with the ids that the token says.
 *
 * @param {string} user
 * @param {Record<string, unknown>} [claims]
 * @returns {Promise<{ token: string, space: string, mailbox: string }>}
 */
export const account = (user, claims = {}) => ask({ do: "token", user, ...claims });

/** Cut every WebSocket without a close frame. @returns {Promise<number>} how many there were */
export const cut = () => ask({ do: "cut" });

/** @returns {Promise<number>} how many WebSockets the server has open */
export const connections = () => ask({ do: "connections" });
