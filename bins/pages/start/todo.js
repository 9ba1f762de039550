// A to-do list that people share, encrypted on their devices: all of it but the drawing.
import { LessSync } from "../client/index.js";

export async function openTodo(name, token, changed, more = {}) {
  const app = await LessSync.open({
    server: location.origin,
    token, // (did) => Promise<string>: asked whenever a fresh one is needed
    name: `todo of ${name}`, // of the store in this browser, which keeps working without a network
    merge: (_path, { mine }) => mine, // two edits of one item at once: the later to arrive wins
    ...more,
  });
  app.on("state", changed);
  app.on("spaces", changed);
  app.on("invitation", changed);

  async function open(list) {
    for (const event of ["change", "status"]) list.on(event, changed);
    list.presence.on(changed);
    await list.put(`people/${app.did}`, name); // so that others see a name behind this device's key
    list.presence.set(name);
    return list;
  }
  const itemOf = (entry) => ({ path: entry.path, ...entry.json() });
  return {
    app,
    open,
    async create(title) {
      const list = await app.createSpace();
      await list.put("title", title);
      return open(list);
    },
    accept: async (invitation) => open(await app.accept(invitation)),
    invite: (list, person) => list.invite({ ...person, permission: "write" }), // its DID and mailbox
    remove: (list, did) => list.revoke(did).then(() => list.rotate({ remove: [did] })), // out, and new keys
    items: async (list) => (await list.list("items/")).map(itemOf).sort((one, two) => one.at - two.at),
    add: (list, text) => list.put(`items/${crypto.randomUUID()}`, { text, done: false, at: Date.now() }),
    tick: (list, { path, ...item }) => list.put(path, { ...item, done: !item.done }),
    drop: (list, item) => list.delete(item.path),
  };
}
