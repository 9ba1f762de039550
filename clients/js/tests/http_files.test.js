import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { test } from "node:test";
import { addressOf } from "../src/address.js";
import { b64, concat, randomBytes, randomUuid, u32be } from "../src/bytes.js";
import {
  ClientClosed,
  ConnectFailed,
  ConnectionLost,
  FileRefused,
  FilesNotServed,
  FilesScopeMissing,
  FileTooLarge,
  NotThisProtocol,
  Refused,
  RequestTimeout,
  ServerUnavailable,
  TokenRefused,
} from "../src/errors.js";
import { made, until } from "./made_client.js";
import { ManualClock } from "./manual_clock.js";
import { account, server, token } from "./server.js";

const DEK = concat(u32be(1), randomBytes(40));
const FILE = "5d0b7e0a-6d0c-4f3e-9c57-60c1f9f6a001";

/**
 * A client with a record that files can be bound to.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} user
 */
async function withRecord(t, user) {
  const { token, space } = await account(user, { scope: "sync files" });
  const { client } = made(t, { server, token });
  await client.open();
  const record = randomUuid();
  await client.push(space, [{ id: record, blob: new Uint8Array(1), expected_cursor: 0 }]);
  return { client, space, record, files: client.files };
}

/**
 * A server that answers as a test says.
 *
 * @param {import("node:test").TestContext} t
 * @param {import("node:http").RequestListener} listener
 */
async function answering(t, listener) {
  const http = createServer(listener).listen(0, "127.0.0.1");
  await once(http, "listening");
  t.after(() => (http.closeAllConnections(), http.close()));
  const clock = new ManualClock();
  const { port } = /** @type {import("node:net").AddressInfo} */ (http.address());
  return { clock, ...made(t, { server: `http://127.0.0.1:${port}`, token: "a.b.c", clock }) };
}

test("a file is stored once, and comes back with its key", async (t) => {
  const { files, space, record } = await withRecord(t, "files-a");
  const body = new Uint8Array(3_000_000).map((_, at) => at * 13);
  const file = randomUuid();
  assert.equal(await files.head(space, file), undefined);
  assert.equal(await files.get(space, file), undefined);
  assert.equal(await files.put(space, file, { record, dek: DEK, body }), "stored");
  assert.equal(await files.put(space, file, { record, dek: DEK, body: new Blob([body]) }), "present");
  assert.deepEqual(await files.head(space, file), { dek: DEK, size: body.length });
  assert.deepEqual(await files.get(space, file), { dek: DEK, body });
  await assert.rejects(files.get(space, file, { bytesMax: 10 }), NotThisProtocol);
});

test("an empty file is one as well", async (t) => {
  const { files, space, record } = await withRecord(t, "files-b");
  const file = randomUuid();
  await files.put(space, file, { record, dek: DEK, body: new Uint8Array(0) });
  assert.deepEqual(await files.get(space, file), { dek: DEK, body: new Uint8Array(0) });
});

test("twenty files at a time come whole, six of them at once", async (t) => {
  const { files, space, record } = await withRecord(t, "files-c");
  const all = Array.from({ length: 20 }, () => ({ file: randomUuid(), body: randomBytes(10_000) }));
  await Promise.all(all.map(({ file, body }) => files.put(space, file, { record, dek: DEK, body })));
  const got = await Promise.all(all.map(({ file }) => files.get(space, file)));
  assert.deepEqual(got.map((one) => one?.body), all.map(({ body }) => body));
});

test("refusals of the real server are of their classes", async (t) => {
  const { files, space, record } = await withRecord(t, "files-d");
  const put = { dek: DEK, body: new Uint8Array(1) };
  await assert.rejects(files.put(space, FILE, { ...put, record: randomUuid() }), (error) => {
    assert.ok(error instanceof FileRefused);
    assert.deepEqual([error.status, error.error], [400, "record not found in this space"]);
    return true;
  });
  await assert.rejects(files.put(space, FILE, { ...put, record, dek: new Uint8Array(3) }), FileRefused);
  await assert.rejects(files.put(space, "x", { ...put, record }), FileRefused);
  assert.equal(await files.get(randomUuid(), FILE), undefined);
  await assert.rejects(files.get(space, FILE, { ucan: "a\nb" }), Refused);
  const lacking = made(t, { server, token: await token("files-d", { scope: "sync" }) });
  await assert.rejects(lacking.client.files.get(space, FILE), FilesScopeMissing);
  await assert.rejects(lacking.client.files.head(space, FILE), FilesScopeMissing);
});

test("a token that was refused is replaced once, and the same one is not tried twice", async (t) => {
  const good = await account("files-e", { scope: "sync files" });
  const old = await token("files-e", { scope: "sync files", exp_in: -60 });
  let asked = 0;
  const { client } = made(t, { server, token: () => ((asked += 1), asked === 1 ? old : good.token) });
  assert.equal(await client.files.get(good.space, FILE), undefined);
  assert.equal(asked, 2);
  const stuck = made(t, { server, token: () => ((asked += 1), old) });
  await assert.rejects(stuck.client.files.get(good.space, FILE), TokenRefused);
  assert.equal(asked, 4);
});

test("what an answer means goes by its status and words", async (t) => {
  let [status, type, words] = [200, "application/json", ""];
  const { client } = await answering(t, (_, response) => {
    response.writeHead(status, { "content-type": type }).end(words);
  });
  const cases = /** @type {[number, string, string, any][]} */ ([
    [500, "application/json", '{"error":"internal error"}', ServerUnavailable],
    [503, "text/html", "<html>", ServerUnavailable],
    [429, "application/json", '{"error":"too many requests are waiting"}', ServerUnavailable],
    [408, "application/json", "", ServerUnavailable],
    [401, "application/json", '{"error":"invalid token"}', TokenRefused],
    [401, "application/json", '{"error":"authorization required"}', FileRefused],
    [403, "application/json", '{"error":"files scope required"}', FilesScopeMissing],
    [403, "application/json", '{"error":"access denied"}', FileRefused],
    [404, "text/plain", "", FilesNotServed],
    [413, "application/json", '{"error":"file exceeds 100 MB limit"}', FileTooLarge],
    [409, "application/json", "[".repeat(10_000), FileRefused],
    [200, "application/json", "", NotThisProtocol],
    [204, "application/json", "", NotThisProtocol],
  ]);
  for (const [code, kind, text, expected] of cases) {
    [status, type, words] = [code, kind, text];
    await assert.rejects(client.files.get("s", FILE), expected, `${code} ${text.slice(0, 40)}`);
  }
});

test("a redirect is not followed, as it would take the token elsewhere", async (t) => {
  let asked = 0;
  const { client } = await answering(t, (_, response) => {
    asked += 1;
    response.writeHead(302, { location: "/elsewhere" }).end();
  });
  await assert.rejects(client.files.get("s", FILE), ConnectFailed);
  assert.equal(asked, 1);
});

test("a file that is shorter or longer than the server said is none", async (t) => {
  const head = { "x-wrapped-dek": b64(DEK), "content-length": 10 };
  const { client } = await answering(t, (request, response) => {
    response.writeHead(200, head).flushHeaders();
    response.socket?.end("x".repeat(request.url?.includes("/long/") ? 20 : 5));
  });
  await assert.rejects(client.files.get("short", FILE), ServerUnavailable);
  const long = await client.files.get("long", FILE).catch((error) => error);
  assert.ok(long instanceof ServerUnavailable || long.body.length === 10);
});

test("an answer, or the rest of one, is waited for 60 s", async (t) => {
  const head = { "x-wrapped-dek": b64(DEK), "content-length": 10 };
  let requests = 0;
  const { client, clock } = await answering(t, (request, response) => {
    requests += 1;
    if (request.url?.includes("/begun/")) response.writeHead(200, head).write("abc");
  });
  for (const [at, space] of ["silent", "begun"].entries()) {
    const late = assert.rejects(client.files.get(space, FILE), RequestTimeout);
    await until(() => requests === at + 1);
    await new Promise((resolve) => setTimeout(resolve, 30)); // The head of an answer takes its time.
    await clock.advance(60_000);
    await late;
  }
  assert.deepEqual(clock.pending, []);
});

test("an upload has more time the larger it is, and is lost when the server hangs up", async (t) => {
  const { client, clock } = await answering(t, (request) => {
    if (request.url?.includes("/cut/")) request.socket.destroy();
  });
  const put = { record: FILE, dek: DEK, body: new Uint8Array(160 * 1024) };
  await assert.rejects(client.files.put("cut", FILE, put), ConnectionLost);
  const late = assert.rejects(client.files.put("silent", FILE, put), RequestTimeout);
  await until(() => clock.pending.length === 1);
  assert.deepEqual(clock.pending, [70_000]);
  await clock.advance(70_000);
  await late;
});

test("close ends transfers under way and those that wait for their turn", async (t) => {
  let requests = 0;
  const { client, clock } = await answering(t, () => void (requests += 1));
  const all = Array.from({ length: 10 }, () => assert.rejects(client.files.get("s", FILE), ClientClosed));
  await until(() => requests === 6);
  await client.close();
  await Promise.all(all);
  assert.deepEqual([requests, clock.pending], [6, []]);
});

test("a client that was paused takes up files again", async (t) => {
  const { client } = await answering(t, (_, response) => {
    response.writeHead(404, { "content-type": "application/json" }).end("{}");
  });
  client.pause();
  await assert.rejects(client.files.get("s", FILE), ConnectFailed);
  client.resume();
  assert.equal(await client.files.get("s", FILE), undefined);
});

test("addresses of servers are read in every spelling, and others are refused", () => {
  const plain = { webSocket: "ws://a:1/api/v1/ws", http: "http://a:1/api/v1" };
  const secure = { webSocket: "wss://a/x/api/v1/ws", http: "https://a/x/api/v1" };
  for (const one of ["http://a:1", "ws://a:1/", "ws://a:1/api/v1/ws"]) {
    assert.deepEqual(addressOf(one), plain);
  }
  for (const one of ["https://a/x", "wss://a/x/", "wss://a/x/api/v1/ws"]) {
    assert.deepEqual(addressOf(one), secure);
  }
  for (const wrong of ["", "a", "ftp://a", "http://", "https://u:p@a", "https://a?x=1", "https://a#x"]) {
    assert.throws(() => addressOf(wrong), Refused, wrong);
  }
});
