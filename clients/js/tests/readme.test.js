import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import test from "node:test";
import * as client from "../src/index.js";
import * as yjs from "../src/yjs.js";
import { server, token } from "./server.js";

const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
const CLIENT = fileURLToPath(new URL("..", import.meta.url));

/** Run a module that stands in the folder of the client, where its package's own name leads to itself. */
async function run(/** @type {string} */ source, /** @type {Record<string, string>} */ env) {
  const node = spawn(process.execPath, ["--input-type=module", "--eval", source], { cwd: CLIENT, env });
  let out = "";
  let err = "";
  node.stdout.on("data", (piece) => (out += piece));
  node.stderr.on("data", (piece) => (err += piece));
  const status = await new Promise((resolve) => node.on("close", resolve));
  return { status, out: out.trimEnd().split("\n"), err };
}

test("the program that the README shows for Node does what it says", async () => {
  const [, source = ""] = readme.match(/^<!-- app: node -->\n```js\n([^]*?)^```$/m) ?? [];
  const done = await run(source, { SERVER: server, TOKEN: await token("reader") });
  assert.deepEqual([done.status, done.err], [0, ""]);
  assert.equal(done.out[0], "notes/hello.txt 15");
  assert.match(done.out[1] ?? "", /^less-sync-key-1:/);
});

test("the README names everything that is exported", () => {
  const names = [...Object.keys(client), ...Object.keys(yjs)];
  assert.deepEqual(names.filter((name) => !readme.includes(`\`${name}`)), []);
});
