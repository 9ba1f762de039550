/** Speaks to the plane: its public routes, with the cookie of who has signed in. */

const ANSWER_MAX_MS = 15000;

/** The plane said no. */
export class Refused extends Error {
  /** @param {number} status @param {any} told @param {number | null} retryAfterS */
  constructor(status, told, retryAfterS) {
    super(told?.error ?? `the plane answered ${status}`);
    this.status = status;
    this.code = told?.code ?? "";
    /** @type {{field: string, message: string}[]} */
    this.fields = told?.fields ?? [];
    this.retryAfterS = retryAfterS;
  }
}

/** The plane did not answer, or in words that are not its own. */
export class Unreachable extends Error {}

/** By how much the plane's clock is ahead of this machine's. A header tells whole seconds, so less is none. */
let aheadMs = 0;
const AHEAD_MIN_MS = 2000;

/** The time by the plane's clock, which all that it tells of is in. */
export const now = () => Date.now() + aheadMs;

/** Who has signed in, null: nobody. The token is the same in every tab. @type {any} */
let session = null;

export const signedIn = () => session;

/** @param {string} method @param {string} path @param {any} body @param {AbortSignal} [signal] */
async function request(method, path, body, signal) {
  /** @type {Record<string, string>} */
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET" && session) headers["X-CSRF-Token"] = session.csrf_token;
  const patience = AbortSignal.timeout(ANSWER_MAX_MS);
  let response, told;
  try {
    response = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      redirect: "error",
      signal: signal ? AbortSignal.any([signal, patience]) : patience,
    });
    const ahead = Date.parse(response.headers.get("Date") ?? "") - Date.now();
    if (!Number.isNaN(ahead)) aheadMs = Math.abs(ahead) < AHEAD_MIN_MS ? 0 : ahead;
    const text = await response.text();
    told = text ? JSON.parse(text) : null;
  } catch (error) {
    if (signal?.aborted) throw error;
    if (patience.aborted) throw new Unreachable(`the plane did not answer in ${ANSWER_MAX_MS / 1000} s`);
    if (!response) throw new Unreachable("no connection to the plane");
    throw new Unreachable(`something between here and the plane answered ${response.status}`);
  }
  if (response.ok) return told;
  throw new Refused(response.status, told, Number(response.headers.get("Retry-After")) || null);
}

/** @param {string} path @param {AbortSignal} [signal] */
export const get = (path, signal) => request("GET", path, undefined, signal);

/**
 * Change something. Who signed in anew in another tab has another token there than here: it is asked for once,
 * and used if it is still the same person.
 *
 * @param {string} method @param {string} path @param {any} [body]
 */
export async function change(method, path, body) {
  try {
    return await request(method, path, body);
  } catch (error) {
    if (!(error instanceof Refused && error.message === "csrf check failed")) throw error;
    const before = session?.user.id;
    await renew();
    if (session?.user.id !== before)
      throw new Error("Somebody else has signed in in another tab. Nothing was changed.");
    return request(method, path, body);
  }
}

/** Ask who is signed in. @returns {Promise<any>} null: nobody */
export async function renew() {
  try {
    session = await get("/platform/v1/auth/session");
  } catch (error) {
    // 429: so many pages of this address were opened by nobody who is signed in.
    if (!(error instanceof Refused && [401, 403, 429].includes(error.status))) throw error;
    session = null;
  }
  return session;
}

/** @param {string} username @param {string} password */
export async function signIn(username, password) {
  session = null;
  session = await request("POST", "/platform/v1/auth/login", { username, password });
  return session;
}

/** The session ends here whatever the plane says; what it could not be told is thrown. */
export async function signOut() {
  try {
    await change("POST", "/platform/v1/auth/logout");
  } catch (error) {
    if (!(error instanceof Refused && error.status === 401)) throw error;
  }
  session = null;
}

/** The session has ended. */
export function forget() {
  session = null;
}

/** A path with a query; what is null or empty is left out. @param {string} path @param {Record<string, any>} query */
export function withQuery(path, query) {
  const given = Object.entries(query).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  return given.length
    ? `${path}?${new URLSearchParams(given.map(([name, value]) => [name, String(value)]))}`
    : path;
}
