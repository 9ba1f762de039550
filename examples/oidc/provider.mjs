/**
 * An OpenID provider for trying things out, whose tokens look like Keycloak's: signed with RS256, the client in
 * `azp`, the audience of the API they are for. It knows everybody: any name and any password will do.
 *
 *     node provider.mjs [PORT [APP_ORIGIN]]      http://127.0.0.1:5400, for an app at http://127.0.0.1:5401
 *
 * Its library comes with the packages of clients/js (`make install`).
 */
import { generateKeyPairSync } from "node:crypto";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [port = "5400", app = "http://127.0.0.1:5401"] = process.argv.slice(2);
const packages = createRequire(new URL("../../clients/js/package.json", import.meta.url));
const { Provider } = await import(pathToFileURL(packages.resolve("oidc-provider")).href);

const API = "https://sync.example/api"; // names the API in requests; `aud` is what its tokens say
const key = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" });

const issuer = `http://127.0.0.1:${port}`;
const provider = new Provider(issuer, {
  jwks: { keys: [{ ...key, kid: "example-1", use: "sig", alg: "RS256" }] },
  clients: [
    {
      client_id: "todo-app",
      token_endpoint_auth_method: "none", // an app in a browser keeps no secret: PKCE takes its place
      grant_types: ["authorization_code", "refresh_token"],
      response_types: ["code"],
      redirect_uris: [`${app}/`],
      id_token_signed_response_alg: "RS256",
    },
  ],
  scopes: ["openid", "offline_access", "sync", "files"],
  pkce: { required: () => true },
  clientBasedCORS: (_context, origin) => origin === app,
  findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  extraTokenClaims: (_context, token) => ({ azp: token.clientId }),
  features: {
    devInteractions: { enabled: true }, // the two plain forms that ask who you are and whether you agree
    resourceIndicators: {
      enabled: true,
      defaultResource: () => API,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: "sync files",
        audience: "less-sync",
        accessTokenFormat: "jwt",
        accessTokenTTL: 15 * 60,
        jwt: { sign: { alg: "RS256" } },
      }),
    },
  },
});
provider.listen(Number(port), "127.0.0.1", () => console.log(`provider at ${issuer}`));
