/** Who is here, as an OpenID provider knows it. There is no backend: people give each other their addresses. */

import { signIn } from "./sign_in.js";

const PROVIDER = { issuer: "http://127.0.0.1:5400", clientId: "todo-app", scope: "openid offline_access sync files" };
const SERVER = "http://127.0.0.1:5379";

export async function signedIn() {
  const token = await signIn(PROVIDER);
  const claims = JSON.parse(atob((await token()).split(".")[1].replaceAll("-", "+").replaceAll("_", "/")));
  const opened = (app) => (document.getElementById("address").value = `${app.did} ${app.mailbox}`);
  return { name: claims.sub, server: SERVER, token, opened };
}

/** The DID and the mailbox that an address is made of. */
export async function found(address) {
  const [did, mailbox] = address.trim().split(/\s+/);
  if (!did?.startsWith("did:key:") || !/^[0-9a-f]{64}$/.test(mailbox ?? "")) throw new Error("that is no address");
  return { did, mailbox };
}
