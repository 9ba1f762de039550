/** Signing in at any OpenID provider from a browser: authorization code with PKCE (RFC 7636), no library. */

const KEPT = "oidc"; // of this tab alone: another tab may be somebody else

/**
 * A function that gives a fresh token whenever the client asks for one. If nobody has signed in yet, the page is
 * left for the provider's and loaded again when it comes back.
 *
 * @param {{issuer: string, clientId: string, scope: string}} provider
 * @returns {Promise<() => Promise<string>>}
 */
export async function signIn(provider) {
  const known = await (await fetch(`${provider.issuer}/.well-known/openid-configuration`)).json();
  const here = location.origin + location.pathname;

  /** @param {Record<string, string>} fields */
  const ask = async (fields) => {
    const body = new URLSearchParams({ client_id: provider.clientId, ...fields });
    const response = await fetch(known.token_endpoint, { method: "POST", body });
    const got = await response.json();
    if (response.status === 400) sessionStorage.removeItem(KEPT); // is over: the next sign-in begins anew
    if (!response.ok) throw new Error(got.error_description ?? got.error);
    const until = Date.now() + (got.expires_in - 30) * 1000;
    const refresh = got.refresh_token ?? fields.refresh_token;
    sessionStorage.setItem(KEPT, JSON.stringify({ token: got.access_token, until, refresh }));
  };

  const came = new URLSearchParams(location.search);
  const begun = JSON.parse(sessionStorage.getItem(`${KEPT}-begun`) ?? "null");
  if (begun && came.get("state") === begun.state) {
    sessionStorage.removeItem(`${KEPT}-begun`);
    history.replaceState(null, "", here);
    if (came.has("error")) throw new Error(came.get("error_description") ?? came.get("error") ?? "");
    const code = came.get("code") ?? "";
    await ask({ grant_type: "authorization_code", code, redirect_uri: here, code_verifier: begun.verifier });
  } else if (!sessionStorage.getItem(KEPT)) {
    const [state, verifier] = [secret(), secret()];
    sessionStorage.setItem(`${KEPT}-begun`, JSON.stringify({ state, verifier }));
    const asked = new URLSearchParams({
      response_type: "code", client_id: provider.clientId, redirect_uri: here, scope: provider.scope, state,
      prompt: "consent", code_challenge: await challenge(verifier), code_challenge_method: "S256",
    });
    location.assign(`${known.authorization_endpoint}?${asked}`);
    return new Promise(() => {}); // the page is being left
  }

  return async () => {
    const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    if (kept.until > Date.now()) return kept.token;
    await ask({ grant_type: "refresh_token", refresh_token: kept.refresh });
    return JSON.parse(sessionStorage.getItem(KEPT) ?? "{}").token;
  };
}

const base64url = (/** @type {Uint8Array} */ bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const secret = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const challenge = async (/** @type {string} */ verifier) =>
  base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));
