/**
 * The start page: signs somebody in, and passes on what they do to the app in `todo.js`.
 *
 * Who is signed in belongs to a tab, so that two tabs are two people; what they keep is in IndexedDB by name.
 */
import { sealedOf } from "./peek.js";
import { health, personNamed, tokenFor, version } from "./server.js";
import { openTodo } from "./todo.js";
import { element, fail, showFacts, showItems, showPeople, showSession } from "./view.js";

const NAME = "less-sync start page: name";
const HEALTH_EVERY_MS = 5000;

/** The app of who is signed in. @type {any} */
let todo;
/** The space that is shown. @type {any} */
let list;
/** The lists that were opened in this tab, by id. */
const opened = new Set();
/** The people of the shown list, and whether they may be others by now. @type {any[]} */
let people = [];
let peopleAreOld = true;
let drawing = false;
let again = false;

/** Something has changed. @param {any} [event] of a list: its people have not when the path of an item is named */
function changed(event) {
  if (!event?.path?.startsWith("items/")) peopleAreOld = true;
  void draw();
}

/** Show what there is now. What changes meanwhile is shown by one more turn. */
async function draw() {
  again = true;
  if (drawing) return;
  drawing = true;
  try {
    while (again) {
      again = false;
      await drawOnce();
    }
  } finally {
    drawing = false;
  }
}

async function drawOnce() {
  const [app, shown] = [todo, list];
  await showSession(app, shown, actions);
  if (!app || !shown) return;
  await showItems(app, shown, actions);
  if (peopleAreOld) {
    peopleAreOld = false;
    people = await membersOf(shown);
  }
  showPeople(shown, people, actions);
}

/** The log of members is asked of the server: without it those known last. @param {any} shown */
async function membersOf(shown) {
  const known = await shown.list("people/");
  const names = new Map(known.map((/** @type {any} */ entry) => [entry.path.slice("people/".length), entry.text()]));
  try {
    const found = await shown.members();
    return found.map((/** @type {any} */ one) => ({ ...one, name: names.get(one.did) ?? "somebody" }));
  } catch {
    return people;
  }
}

/** Do something, and say what went wrong with it. @param {() => unknown} work */
async function doing(work) {
  fail("");
  try {
    await work();
  } catch (error) {
    fail(error instanceof Error ? error.message : String(error));
  }
  changed();
}

const actions = {
  /** @param {any} invitation */
  accept: (invitation) => doing(async () => show(await todo.accept(invitation))),
  /** @param {any} item */
  tick: (item) => doing(() => todo.tick(list, item)),
  /** @param {any} item */
  drop: (item) => doing(() => todo.drop(list, item)),
  /** @param {string} did */
  remove: (did) => doing(() => todo.remove(list, did)),
};

/** Look at a list that is open. @param {any} one */
function show(one) {
  opened.add(one.id);
  list = one;
  people = [];
  element("peek").open = false;
  element("said").textContent = "";
}

/** Look at a list. @param {any} one */
async function open(one) {
  const first = !opened.has(one.id);
  show(one);
  if (first) await todo.open(one);
}

/** @param {string} name */
async function signIn(name) {
  todo = await openTodo(name, (/** @type {string} */ did) => tokenFor(name, did), changed);
  sessionStorage.setItem(NAME, name);
  element("me").textContent = name;
  element("offline").checked = false;
  const [first] = todo.app.spaces();
  if (first) await open(first);
}

async function signOut() {
  sessionStorage.removeItem(NAME);
  const { app } = todo;
  todo = list = undefined;
  opened.clear();
  await app.close();
}

/**
 * When a form is sent, what its field holds is passed on.
 *
 * @param {string} id
 * @param {string} field
 * @param {(text: string) => Promise<unknown>} work
 */
function onSubmit(id, field, work) {
  element(id).addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const text = element(field).value.trim();
    if (text) void doing(() => work(text));
  });
}

onSubmit("sign-in", "name", signIn);
onSubmit("create", "title", async (title) => show(await todo.create(title)));
onSubmit("add", "text", async (text) => {
  element("text").value = "";
  await todo.add(list, text);
});
onSubmit("invite", "other", async (name) => {
  await todo.invite(list, await personNamed(name));
  element("said").textContent = `${name} is invited.`;
});
element("sign-out").addEventListener("click", () => void doing(signOut));
element("offline").addEventListener("change", () => {
  void doing(() => (element("offline").checked ? todo.app.pause() : todo.app.resume()));
});
element("choose").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
element("lists").addEventListener("change", () => {
  void doing(() => open(todo.app.space(element("lists").value)));
});
element("peek").addEventListener("toggle", () => {
  if (element("peek").open) void doing(async () => showFacts(element("sealed"), await sealedOf(list)));
});

async function showHealth() {
  const told = await health();
  if (element("health").textContent !== told) element("health").textContent = told;
}

element("address").textContent = location.origin;
const linkSecond = () => (element("second").href = location.href);
linkSecond();
addEventListener("hashchange", linkSecond);
void showHealth();
setInterval(showHealth, HEALTH_EVERY_MS);
element("version").textContent = await version();
element("code").textContent = await (await fetch("/start/todo.js")).text();
const name = sessionStorage.getItem(NAME);
if (name) await doing(() => signIn(name));
