import assert from "node:assert/strict";
import { test } from "node:test";
import { randomUuid } from "../../../clients/js/src/bytes.js";
import { ConnectionLost } from "../../../clients/js/src/errors.js";
import { made, until } from "../../../clients/js/tests/made_client.js";
import { account, server } from "../../../clients/js/tests/server.js";
import { frameProxy } from "./frame_proxy.js";

const later = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

test("the server's keepalives keep a quiet connection, and a half-open one is replaced", async (t) => {
  const { token, space } = await account("half-open");
  const proxy = await frameProxy(t, server);
  // Well over the 4 s between two keepalives of this server (test_wire.py), as 75 s are over its usual 30.
  const limits = { silenceMs: 8_000, backoffFirstMs: 50 };
  const { client, notices, states } = made(t, { server: proxy.server, token, limits });
  const writer = made(t, { server, token });
  await Promise.all([client.open(), writer.client.open()]);
  await client.subscribe([{ id: space }]);
  await later(14_000);
  assert.deepEqual([states, proxy.made], [["connecting", "online"], 1]);
  proxy.fallSilent();
  const write = { id: randomUuid(), blob: new Uint8Array(1), expected_cursor: 0 };
  const under = assert.rejects(client.push(space, [write]), ConnectionLost);
  await writer.client.push(space, [{ ...write, id: randomUuid() }]);
  await under; // 8 s after the last keepalive
  for (let waited = 0; waited < 6 && notices.length === 0; waited++) await later(1000);
  assert.deepEqual(notices.map(({ method }) => method), ["resync"]);
  assert.deepEqual(states, ["connecting", "online", "connecting", "online"]);
  assert.equal(proxy.made, 2);
  await writer.client.push(space, [{ ...write, id: randomUuid() }]);
  await until(() => notices.length === 2);
});
