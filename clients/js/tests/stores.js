/**
 * What every store does, as checks that a test of Node and one of a browser run: `await checkStore(make)`, where
 * `make(name)` opens the store of that name. Throws an Error that says what is wrong.
 */

/** @param {unknown} found @param {unknown} wanted @param {string} what */
function same(found, wanted, what) {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one}, not ${other}`);
}

/** @param {(name: string) => import("../src/store.js").Store} make */
export async function checkStore(make) {
  const store = make("one");
  same(await store.read(["a", "b"]), [null, null].map(() => undefined), "read of nothing");
  const told = await store.update(["a"], ([a], write) => {
    write("a", { text: "1", bytes: [1, 2] });
    write("p/b", 2);
    write("p/a", 1);
    write("p/\u{1f600}", 3);
    write("p/\uffff", 4);
    write("q", 5);
    return a ?? "new";
  });
  same(told, "new", "result of a step");
  same(await store.read(["a", "q", "z"]), [{ text: "1", bytes: [1, 2] }, 5, undefined], "read");
  const [first, second] = [["p/a", 1], ["p/b", 2]];
  same(await store.list("p/"), [first, second, ["p/\u{1f600}", 3], ["p/\uffff", 4]], "list in order of code units");
  same(await store.list("p/", { limit: 1 }), [first], "first page");
  same(await store.list("p/", { after: "p/a", limit: 1 }), [second], "next page");
  same(await store.list("p/", { after: "p/\uffff" }), [], "page after the last");
  const bytes = Uint8Array.of(1, 2, 3);
  await store.update([], (_, write) => write("bytes", bytes));
  bytes[0] = 9;
  const [kept] = await store.read(["bytes"]);
  same([kept instanceof Uint8Array, ...kept], [true, 1, 2, 3], "what was written does not change with its source");
  let failed = "";
  const step = store.update(["q"], (_, write) => {
    write("q", 6);
    throw new Error("given up");
  });
  await step.catch((error) => (failed = error.message));
  same([failed, ...(await store.read(["q"]))], ["given up", 5], "a step that throws writes nothing");
  const both = [1, 2, 3, 4, 5].map(() => store.update(["n"], ([n = 0], write) => write("n", n + 1)));
  await Promise.all(both);
  same(await store.read(["n"]), [5], "steps come one after the other");
  await store.update([], (_, write) => ["p/a", "p/b", "gone"].forEach((key) => write(key, undefined)));
  same((await store.list("p/")).length, 2, "deleted");
  const other = make("two");
  same(await other.read(["q"]), [undefined], "another name is another store");
  other.close();
  store.close();
}
