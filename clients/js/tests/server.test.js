import assert from "node:assert/strict";
import test from "node:test";
import { account, connections, cut, server } from "./server.js";

/** @param {WebSocket} socket @param {string} name */
const once = (socket, name) => new Promise((resolve) => socket.addEventListener(name, resolve, { once: true }));

test("the server of the harness answers", async () => {
  const answer = await fetch(`${server}/health`);
  assert.equal(answer.status, 200);
});

test("a token is for the user and with the claims that are asked for", async () => {
  const { token, space, mailbox } = await account("alice", { did: "did:key:zDn", scope: null });
  const claims = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString());
  assert.deepEqual(
    [claims.sub, claims.did, claims.scope, claims.personal_space_id, claims.mailbox_id],
    ["alice", "did:key:zDn", undefined, space, mailbox],
  );
});

test("a connection that is cut ends without a close frame", async () => {
  const socket = new WebSocket(`${server.replace("http", "ws")}/api/v1/ws`, ["betterbase-rpc-v1"]);
  await once(socket, "open");
  assert.equal(await connections(), 1);
  const closed = once(socket, "close");
  assert.equal(await cut(), 1);
  assert.equal((await closed).code, 1006);
});
