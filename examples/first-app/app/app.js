import { found, signedIn } from "./account.js";
import { LessSync } from "./less-sync/index.js";

const $ = (id) => document.getElementById(id);
let app; // of who is signed in
let list; // the space that is shown
let turns = 0; // of drawing
let invitations = []; // what waits for us at the server

// 1. Signing in: our backend knows who this is, the sync server trusts its tokens.
async function signIn(fields) {
  const account = await signedIn(fields);
  app = await LessSync.open({
    server: account.server,
    name: `list of ${account.name}`, // what is kept in this browser, encrypted keys and all
    token: telling(account.token), // (did) => Promise<string>: asked whenever a fresh one is needed
    merge: (_path, { mine }) => mine, // two edits of one item at once: the later to arrive wins
  });
  for (const event of ["state", "invitation"]) app.on(event, lookForMail);
  $("me").textContent = account.name;
  account.opened?.(app);
  $("sign-in").hidden = true;
  $("app").hidden = false;
  if (app.spaces().length) await show(app.spaces()[0]);
  await lookForMail();
}

// The client tries again by itself when there is no token: the person is told why they are waiting.
const telling = (token) => async (did) => {
  try {
    const given = await token(did);
    $("trouble").textContent = "";
    return given;
  } catch (error) {
    $("trouble").textContent = error.message;
    throw error;
  }
};

// 2. A list is a space: entries by path, here at once, at the others' when there is a network.
async function show(space) {
  list = space;
  for (const event of ["change", "status"]) list.on(event, draw);
  await list.put(`people/${app.did}`, $("me").textContent);
}

const add = ({ text }) => list.put(`items/${crypto.randomUUID()}`, { text, done: false, at: Date.now() });
const tick = ({ path, ...item }) => list.put(path, { ...item, done: !item.done });

// 3. Sharing: the other's device can open what ours seals from now on; the server cannot.
const invite = async ({ name }) => list.invite({ ...(await found(name)), permission: "write" });

async function lookForMail() {
  if (app.state === "online") invitations = await app.invitations();
  await draw();
}

async function accept(invitation) {
  await show(await app.accept(invitation));
  await lookForMail();
}

// 4. Drawing what there is, if nothing has changed again meanwhile.
async function draw() {
  const turn = ++turns;
  const items = list ? await list.list("items/") : [];
  const people = list ? await list.list("people/") : [];
  if (turn !== turns) return;
  const focused = document.activeElement?.id;
  const entries = items.map((entry) => ({ path: entry.path, ...entry.json() }));
  $("state").textContent = app.state + (list?.status.lost ? ", but removed from this list" : "");
  $("invitations").replaceChildren(
    ...invitations.map((one) => button(one.id, "Accept an invitation", () => accept(one))),
  );
  $("list").hidden = !list;
  $("items").replaceChildren(...entries.sort((one, other) => one.at - other.at).map(itemElement));
  $("people").replaceChildren(...people.map(personElement));
  if (focused) $(focused)?.focus();
}

function itemElement(item) {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: item.done, id: item.path });
  box.addEventListener("change", doing(() => tick(item)));
  const label = document.createElement("label");
  label.append(box, ` ${item.text}`);
  return row(label, button(`remove ${item.path}`, "Remove", () => list.delete(item.path)));
}

function personElement(entry) {
  const did = entry.path.slice("people/".length);
  if (did === app.did) return row(`${entry.text()} (you)`);
  if (list.permission !== "admin") return row(entry.text()); // who made the list lets people in and out
  const leave = async () => {
    await list.revoke(did); // is out at once
    await list.rotate({ remove: [did] }); // what is written from now on has other keys
    await list.delete(entry.path);
  };
  return row(entry.text(), button(`remove ${did}`, "Remove", leave));
}

function row(...children) {
  const one = document.createElement("li");
  one.append(...children);
  return one;
}

/** The id is that of what it is about: by it the keyboard's focus is put back after drawing. */
function button(id, text, work) {
  const one = Object.assign(document.createElement("button"), { type: "button", id, textContent: text });
  one.addEventListener("click", doing(work));
  return one;
}

// 5. Whatever a person does: what goes wrong is said.
function doing(work) {
  return async (event) => {
    $("error").textContent = "";
    try {
      await work(event);
      if (app) await draw();
    } catch (error) {
      $("error").textContent = error.message;
    }
  };
}

for (const [id, work] of Object.entries({ "sign-in": signIn, add, invite })) {
  $(id).addEventListener("submit", doing(async (event) => {
    event.preventDefault();
    const form = event.target;
    const fields = Object.fromEntries(new FormData(form));
    form.reset(); // at once: the next may be written meanwhile
    form.inert = id === "sign-in"; // which is done once, however long it takes
    try {
      await work(fields);
    } catch (error) {
      for (const [name, text] of Object.entries(fields)) form.elements[name].value ||= text;
      throw error;
    } finally {
      form.inert = false;
    }
  }));
}
$("create").addEventListener("click", doing(async () => show(await app.createSpace())));
$("offline").addEventListener("change", doing(() => ($("offline").checked ? app.pause() : app.resume())));
