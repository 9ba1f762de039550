/** What the page asks the server that is not the protocol: who is who in dev mode, and how it is. */

/** An answer that is none; the text is for people. */
export class AskFailed extends Error {}

/** Read each time: who came without it puts it behind the address, and the page stays. */
const secret = () => location.hash.slice(1);

/**
 * @param {string} path
 * @param {object} question
 * @returns {Promise<any>}
 * @throws {AskFailed} the server refused, or is not there
 */
async function ask(path, question) {
  const headers = { "Content-Type": "application/json", "X-Start-Secret": secret() };
  const request = { method: "POST", headers, body: JSON.stringify(question) };
  const answer = await fetch(path, request).catch(() => {
    throw new AskFailed("the server does not answer");
  });
  const told = await answer.json().catch(() => ({ error: `the server answered ${answer.status}` }));
  if (!answer.ok) throw new AskFailed(told.error);
  return told;
}

/**
 * A token for whoever this browser shall be, with this device's public key in it.
 *
 * @param {string} name
 * @param {string} did
 * @returns {Promise<string>}
 */
export async function tokenFor(name, did) {
  return (await ask("/start/token", { name, did })).token;
}

/**
 * The DID and the mailbox of a person who has signed in. An app's own backend would know its users.
 *
 * @param {string} name
 * @returns {Promise<{ did: string, mailbox: string }>}
 */
export async function personNamed(name) {
  return ask("/start/people", { name });
}

/** @throws {AskFailed} the page was opened without the secret, and may not sign anybody in */
export function needsSecret() {
  if (!secret()) throw new AskFailed("open the page at the address that the server printed, with what follows the #");
}

/** @returns {Promise<string>} */
export async function version() {
  return (await (await fetch("/start/about")).json()).version;
}

/** In words for people. @returns {Promise<string>} */
export async function health() {
  try {
    const told = await (await fetch("/health")).json();
    return told.error ? `${told.status}: ${told.error}` : told.status;
  } catch {
    return "does not answer";
  }
}
