import assert from "node:assert/strict";

import test from "node:test";
import { conflictPath, pathProblem } from "../src/paths.js";
import { decide } from "../src/plan.js";
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

test("one tab that is connected leads, the one that is looked at first, and all hear each other", async () => {
  /** @type {[string, any][]} */
  const heard = [];
  /** @type {string[]} */
  const told = [];
  /** @param {string} who */
  const tab = (who) =>
    new Tabs(`tabs ${process.pid}`, {
      onLead: (leads) => told.push(`${who} ${leads}`),
      onMessage: (message) => heard.push([who, message]),
    });
  /** @param {string[]} wanted */
  const come = async (...wanted) => {
    while (told.length < wanted.length) await new Promise((resolve) => setTimeout(resolve, 1));
    assert.deepEqual(told.splice(0).sort(), wanted);
  };
  const [one, two, three] = [tab("one"), tab("two"), tab("three")];
  one.stand(true);
  await come("one true");
  two.stand(true);
  two.stand(true);
  two.post({ kind: "spaces" });
  one.post({ kind: "spaces" });
  while (heard.length < 4) await new Promise((resolve) => setTimeout(resolve, 1));
  assert.deepEqual(heard.map(([who]) => who).sort(), ["one", "three", "three", "two"]);
  assert.deepEqual([told, two.leads], [[], false]);
  one.stand(false);
  await come("one false", "two true");
  one.stand(true);
  three.stand(true, true);
  await come("three true", "two false");
  three.close();
  three.post({ kind: "spaces" });
  await come("one true", "three false");
  one.close();
  await come("one false", "two true");
  two.close();
  await come("two false");
});
