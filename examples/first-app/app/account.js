/** Who is here, and how others are reached: what the backend of this app knows. */

let session;

async function ask(path, question) {
  const headers = { "Content-Type": "application/json", Authorization: `Bearer ${session}` };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(question) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  return told;
}

export async function signedIn({ name, password }) {
  const welcome = await ask("/sign-in", { name, password });
  session = welcome.session;
  return { name, server: welcome.server, token: async (did) => (await ask("/token", { did })).token };
}

/** The DID and the mailbox of another user. */
export const found = (name) => ask("/person", { name });
