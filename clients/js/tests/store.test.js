import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import test from "node:test";
import { conflictPath, pathProblem } from "../src/paths.js";
import { decide } from "../src/plan.js";
import { RunningHash } from "../src/running_hash.js";
import { MemoryStore, clear, walk } from "../src/store.js";
import { Tabs } from "../src/tabs.js";
import { checkStore } from "./stores.js";

test("the store in memory does what every store does", async () => {
  await checkStore(() => new MemoryStore());
});

test("a walk goes through all pages, and clearing leaves what is beside", async () => {
  const store = new MemoryStore();
  await store.update([], (_, write) => {
    for (let number = 0; number < 1000; number++) write(`p/${String(number).padStart(4, "0")}`, number);
    write("q", 1);
  });
  const found = [];
  for await (const [, value] of walk(store, "p/", 7)) found.push(value);
  assert.deepEqual(found, Array.from({ length: 1000 }, (_, number) => number));
  await clear(store, "p/");
  assert.deepEqual([...store.values.keys()], ["q"]);
});

test("a running SHA-256 is that of the whole, however it is cut", () => {
  for (let size = 0; size < 260; size++) {
    const bytes = randomBytes(size);
    const hash = new RunningHash();
    for (let at = 0; at < size; ) {
      const piece = bytes.subarray(at, at + 1 + Math.floor(Math.random() * 80));
      hash.update(piece);
      at += piece.length;
    }
    const digest = Buffer.from(hash.digest()).toString("hex");
    assert.equal(digest, createHash("sha256").update(bytes).digest("hex"), `${size} bytes`);
  }
});

test("a conflict copy keeps the ending, and fits into a name", () => {
  const at = new Date(2026, 0, 2, 3, 4, 5);
  const mark = " (conflict 2026-01-02 030405";
  assert.equal(conflictPath("a/b.tar.gz", at), `a/b.tar${mark}).gz`);
  assert.equal(conflictPath(".profile", at), `.profile${mark})`);
  assert.equal(conflictPath("dot.", at), `dot.${mark})`);
  assert.equal(conflictPath("x.txt", at, 2), `x${mark} 2).txt`);
  for (const name of [1, 200]) {
    const full = `${`${"d".repeat(255)}/`.repeat(12).slice(0, 3071 - name)}/${"n".repeat(name)}`;
    assert.equal(pathProblem(full), undefined);
    assert.equal(pathProblem(conflictPath(full, at)), undefined);
  }
  const long = conflictPath(`${"\u{1f600}".repeat(63)}.txt`, at);
  assert.ok(Buffer.byteLength(long) <= 255 && long.endsWith(`${mark}).txt`));
});

/** @type {[string | null, [number, string | null] | null, [number, string | null], string][]} */
const TABLE = [
  [null, null, [1, "a"], "take"],
  ["a", null, [1, "a"], "note"],
  ["b", null, [1, "a"], "both"],
  ["a", [1, "a"], [1, "a"], "note"],
  ["b", [1, "a"], [1, "a"], "note"],
  [null, [1, "a"], [1, "a"], "note"],
  ["a", [1, "a"], [2, "b"], "take"],
  ["b", [1, "a"], [2, "b"], "note"],
  ["c", [1, "a"], [2, "b"], "both"],
  [null, [1, "a"], [2, "b"], "take"],
  ["a", [1, "a"], [2, null], "delete"],
  ["b", [1, "a"], [2, null], "note"],
  [null, [1, "a"], [2, null], "note"],
  ["a", null, [2, null], "note"],
  ["a", [1, null], [2, "a"], "note"],
  ["b", [1, null], [2, "a"], "both"],
];

test("what is done about a path follows from what is here, was agreed on and is there", () => {
  for (const [local, known, [cursor, digest], wanted] of TABLE) {
    const before = known && { cursor: known[0], digest: known[1] };
    assert.equal(decide(local, before, { cursor, digest }), wanted, JSON.stringify([local, known, cursor, digest]));
  }
});

test("one tab leads, all hear each other, and the next one leads when it goes", async () => {
  /** @type {[string, any][]} */
  const heard = [];
  /** @param {string} who */
  const tab = (who) => {
    /** @type {() => void} */
    let led = () => {};
    const leads = new Promise((resolve) => (led = () => resolve(who)));
    const name = `tabs ${process.pid}`;
    return { leads, tabs: new Tabs(name, { onLead: led, onMessage: (message) => heard.push([who, message]) }) };
  };
  const one = tab("one");
  assert.equal(await one.leads, "one");
  const two = tab("two");
  two.tabs.post({ kind: "spaces" });
  one.tabs.post({ kind: "spaces" });
  while (heard.length < 2) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(heard.map(([who]) => who).sort(), ["one", "two"]);
  assert.equal(two.tabs.leads, false);
  one.tabs.close();
  assert.equal(await two.leads, "two");
  two.tabs.close();
});
