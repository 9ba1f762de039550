/** Draws the page. Elements are kept where they stay the same: the keyboard's focus stays where it is. */

/** @param {string} id @returns {any} */
export const element = (id) => document.getElementById(id);

/** Say what went wrong; empty: nothing. @param {string} text */
export function fail(text) {
  element("error").textContent = text;
  element("error").hidden = !text;
}

/**
 * One child of a list for each row, in order; children whose row is gone go.
 *
 * @template Row
 * @param {HTMLElement} parent
 * @param {Row[]} rows
 * @param {(row: Row) => string} keyOf
 * @param {(row: Row) => HTMLElement} make
 * @param {(child: any, row: Row) => void} [fill] makes a child show its row
 */
function children(parent, rows, keyOf, make, fill = () => {}) {
  const kept = new Map([...parent.children].map((child) => [child.getAttribute("data-key"), child]));
  rows.forEach((row, place) => {
    const key = keyOf(row);
    const child = /** @type {HTMLElement} */ (kept.get(key) ?? make(row));
    kept.delete(key);
    child.setAttribute("data-key", key);
    fill(child, row);
    if (parent.children[place] !== child) parent.insertBefore(child, parent.children[place] ?? null);
  });
  for (const gone of kept.values()) gone.remove();
}

/** @param {string} tag @param {string} [text] @param {string} [className] @returns {any} */
function made(tag, text = "", className = "") {
  const one = document.createElement(tag);
  one.textContent = text;
  one.className = className;
  return one;
}

/**
 * Something that is not done again while it is being done: a button may be pressed twice.
 *
 * @template {unknown[]} Given
 * @param {(...given: Given) => Promise<unknown>} work
 * @returns {(...given: Given) => Promise<void>}
 */
export function once(work) {
  let running = false;
  return async (...given) => {
    if (running) return;
    running = true;
    try {
      await work(...given);
    } finally {
      running = false;
    }
  };
}

/** @param {string} text @param {() => Promise<unknown>} act */
function button(text, act) {
  const one = made("button", text, "quiet");
  one.type = "button";
  one.addEventListener("click", once(act));
  return one;
}

/** @type {Record<string, string>} */
const STATES = {
  online: "online",
  offline: "offline: what you change is kept here, and sent later",
  connecting: "connecting",
  refused: "refused by the server",
};

/**
 * Who is signed in, and what lists there are.
 *
 * @param {any} todo undefined: nobody is
 * @param {any} list the one that is shown
 * @param {any[]} invitations
 * @param {any} actions
 */
export async function showSession(todo, list, invitations, actions) {
  element("sign-in").hidden = Boolean(todo);
  element("signed-in").hidden = !todo;
  element("list").hidden = !list;
  if (!todo) return;
  element("state").textContent = STATES[todo.app.state] ?? todo.app.state;
  await showLists(todo.app.spaces(), list);
  children(element("invitations"), invitations, (row) => row.id, (row) => {
    const child = made("li");
    child.append(made("span", `Somebody lets you into a list (their device's key ends in ${row.from.slice(-6)}).`));
    child.append(button("Accept", () => actions.accept(row)));
    return child;
  });
}

/** @param {any[]} lists @param {any} list */
async function showLists(lists, list) {
  const titled = await Promise.all(lists.map(async (one) => ({ id: one.id, title: await titleOf(one) })));
  element("choose").hidden = titled.length < 2;
  const option = (/** @type {any} */ row) => Object.assign(made("option"), { value: row.id });
  children(element("lists"), titled, (row) => row.id, option, (child, row) => {
    child.textContent = row.title;
  });
  if (list) element("lists").value = list.id;
}

/** @param {any} list @returns {Promise<string>} */
async function titleOf(list) {
  return (await list.get("title"))?.text() ?? "A list that is on its way";
}

/** @param {any} todo @param {any} list @param {any} actions */
export async function showItems(todo, list, actions) {
  const { lost, pending } = list.status;
  element("items-title").textContent = await titleOf(list);
  element("gone").hidden = !lost;
  element("pending").textContent = pending ? `${pending} changed here, not sent yet` : "";
  for (const field of [...element("add").elements, ...element("invite").elements]) field.disabled = lost;
  const items = await todo.items(list);
  element("none").hidden = items.length > 0;
  children(element("items"), items, (item) => item.path, itemMade, (child, item) => {
    const [label, remove] = child.children;
    const [box, text] = label.children;
    text.textContent = item.text;
    child.className = item.done ? "done" : "";
    box.checked = item.done;
    box.disabled = remove.disabled = lost;
    remove.setAttribute("aria-label", `Remove ${item.text}`);
    child.tick = () => actions.tick(item);
    child.drop = () => actions.drop(item);
  });
}

function itemMade() {
  const child = made("li");
  const label = made("label");
  const box = Object.assign(made("input"), { type: "checkbox" });
  box.addEventListener("change", () => child.tick());
  label.append(box, made("span"));
  child.append(label, button("Remove", () => child.drop()));
  return child;
}

/** @param {any} list @param {any[]} people @param {any} actions */
export function showPeople(list, people, actions) {
  const here = new Set(list.presence.here().map((/** @type {any} */ one) => one.did));
  children(element("people"), people, (one) => one.did, personMade, (child, one) => {
    const [text, remove] = child.children;
    const facts = [one.you && "you", one.invited && "invited", here.has(one.did) && !one.you && "here now"];
    text.textContent = [one.name, ...facts.filter(Boolean)].join(" · ");
    remove.hidden = one.you || list.permission !== "admin";
    remove.setAttribute("aria-label", `Remove ${one.name} from the list`);
    child.leave = () => actions.remove(one.did);
  });
}

function personMade() {
  const child = made("li");
  child.append(made("span"), button("Remove", () => child.leave()));
  return child;
}

/** Terms and what they stand for. @param {HTMLElement} parent @param {Record<string, string>} facts */
export function showFacts(parent, facts) {
  parent.replaceChildren(...Object.entries(facts).map(([term, fact]) => {
    const row = made("div");
    row.append(made("dt", term), made("dd", fact));
    return row;
  }));
}
