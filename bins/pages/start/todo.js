// A to-do list that people share, encrypted on their devices: all of it but the drawing.
import { LessSync } from "../client/index.js";

export async function openTodo(name, token, changed) {
  const app = await LessSync.open({
    server: location.origin,
    token, // (did) => Promise<string>: asked whenever a fresh one is needed
    name: `todo of ${name}`, // of the store in this browser, which keeps working without a network
    merge: (_path, { mine }) => mine, // two edits of one item at once: the later to arrive wins
  });
  for (const event of ["state", "spaces", "invitation"]) app.on(event, changed);

  async function open(list) {
    for (const event of ["change", "status"]) list.on(event, changed);
    list.presence.on(changed);
    await list.put(`people/${app.did}`, name); // so that others see a name behind this device's key
    list.presence.set(name);
    return list;
  }

  async function all(list, folder) {
    return (await list.list(folder)).map((entry) => ({ path: entry.path, ...entry.json() }));
  }
  return {
    app,
    open,
    create: async (title) => {
      const list = await app.createSpace();
      await list.put("title", title);
      return open(list);
    },
    accept: async (invitation) => open(await app.accept(invitation)),
    invite: (list, person) => list.invite({ ...person, permission: "write" }), // its DID and mailbox
    remove: (list, did) => list.revoke(did), // is out at once, and the keys change
    items: async (list) => (await all(list, "items/")).sort((one, other) => one.at - other.at),
    add: (list, text) => list.put(`items/${crypto.randomUUID()}`, { text, done: false, at: Date.now() }),
    tick: (list, { path, ...item }) => list.put(path, { ...item, done: !item.done }),
    drop: (list, item) => list.delete(item.path),
  };
}
