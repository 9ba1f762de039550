/** Devices of one user, with a Yjs document that is bound to a space on each. */
import * as Y from "yjs";
import { LessSync } from "../src/index.js";
import { bindYjs } from "../src/yjs.js";
import { server, token } from "./server.js";

/** Of the entries of the document that `bound` binds. */
export const FOLDER = "notes/todo.yjs/";
let users = 0;

/**
 * Devices of one user, a new one unless it is named, closed at the end of the test.
 *
 * @param {import("node:test").TestContext} t
 * @param {string} [user]
 */
export function devices(t, user = `yjs-${++users}`) {
  /** @type {string | undefined} */
  let key;
  return async () => {
    const options = { server, name: user, token: (/** @type {string} */ did) => token(user, { did }) };
    const app = await LessSync.open(key === undefined ? options : { ...options, key });
    key ??= await app.exportKey();
    t.after(() => app.close());
    return app;
  };
}

/** @param {import("node:test").TestContext} t @param {any} space @param {object} [options] */
export function bound(t, space, options = {}) {
  const ydoc = new Y.Doc();
  /** @type {unknown[]} */
  const errors = [];
  const onError = (/** @type {unknown} */ error) => errors.push(error);
  const binding = bindYjs(space, "notes/todo", ydoc, { Y, onError, ...options });
  t.after(() => binding.destroy());
  return { binding, ydoc, errors, text: ydoc.getText("text") };
}

/** Until it holds; the test's own time-out ends what never does. @param {() => unknown} holds */
export async function until(holds) {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** @param {any} space @returns {Promise<Record<string, number>>} sizes by kind of entry and device */
export async function sizes(space) {
  const entries = await space.list(FOLDER);
  return Object.fromEntries(entries.map((/** @type {any} */ one) => [one.path.slice(FOLDER.length), one.size]));
}

/** @param {any} space @param {"changes" | "snapshot"} kind */
export const own = (space, kind) => `${space.did.slice(-16)}.${kind}`;
