/**
 * The start page: signs somebody in, and passes on what they do to the app in `todo.js`.
 *
 * Who is signed in belongs to a tab, so that two tabs are two people; what they keep is in IndexedDB by name.
 */
import { WatchedSocket, lastSent } from "./peek.js";
import { health, needsSecret, personNamed, tokenFor, version } from "./server.js";
import { openTodo } from "./todo.js";
import { element, fail, once, showFacts, showItems, showPeople, showSession } from "./view.js";

const NAME = "less-sync start page: name";
const HEALTH_EVERY_MS = 5000;

/** The app of who is signed in. @type {any} */
let todo;
/** The space that is shown. @type {any} */
let list;
/** The lists that were opened in this tab, by id. */
const opened = new Set();
/** What the server was asked about others, and whether it may have changed. @type {{ people: any[], mail: any[] }} */
const others = { people: [], mail: [] };
let othersAreOld = true;
let asking = false;
let drawing = false;
let again = false;

/** Something has changed. @param {any} [event] of a list: the people have not where the path of an item is named */
function changed(event) {
  if (!event?.path?.startsWith("items/")) othersAreOld = true;
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
  void askAboutOthers(app, shown);
  try {
    await showSession(app, shown, others.mail, actions);
    if (!app || !shown) return;
    await showItems(app, shown, actions);
    showPeople(shown, others.people, actions);
    if (element("peek").open) showFacts(element("sealed"), lastSent());
  } catch (error) {
    // Who has signed out meanwhile has closed what was to be shown.
    if (app === todo) fail(messageOf(error));
  }
}

/** @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/**
 * Invitations, and the people of a list, if they may be others by now: drawing does not wait for the network.
 *
 * @param {any} app
 * @param {any} shown
 */
async function askAboutOthers(app, shown) {
  if (!othersAreOld || asking || app?.app.state !== "online") return;
  othersAreOld = false;
  asking = true;
  try {
    others.mail = await app.app.invitations();
    others.people = shown && !shown.status.lost ? await peopleOf(shown) : [];
  } catch {
    // The state of the connection or of the list changes, and brings us here again.
  } finally {
    asking = false;
  }
  void draw();
}

/** Who may open a list, with the names that they put there. @param {any} shown */
async function peopleOf(shown) {
  const known = await shown.list("people/");
  const names = new Map(known.map((/** @type {any} */ entry) => [entry.path.slice("people/".length), entry.text()]));
  const members = await shown.members();
  return members.map((/** @type {any} */ one) => ({ ...one, name: names.get(one.did) ?? "somebody" }));
}

/** Do something, and say what went wrong with it. @param {() => unknown} work */
async function doing(work) {
  fail("");
  try {
    await work();
  } catch (error) {
    fail(messageOf(error));
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
  others.people = [];
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
  needsSecret();
  const token = async (/** @type {string} */ did) => {
    try {
      return await tokenFor(name, did);
    } catch (error) {
      fail(messageOf(error));
      throw error;
    }
  };
  todo = await openTodo(name, token, changed, { WebSocket: WatchedSocket });
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
  others.people = others.mail = [];
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

onSubmit("sign-in", "name", once(signIn));
onSubmit("create", "title", once(async (title) => show(await todo.create(title))));
onSubmit("add", "text", async (text) => {
  element("text").value = "";
  await todo.add(list, text);
});
onSubmit("invite", "other", once(async (name) => {
  await todo.invite(list, await personNamed(name));
  element("said").textContent = `${name} is invited, and sees it in a few seconds.`;
}));
element("sign-out").addEventListener("click", () => void doing(signOut));
element("offline").addEventListener("change", () => {
  void doing(() => (element("offline").checked ? todo.app.pause() : todo.app.resume()));
});
element("choose").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
element("lists").addEventListener("change", () => {
  void doing(() => open(todo.app.space(element("lists").value)));
});
element("peek").addEventListener("toggle", () => void draw());

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
