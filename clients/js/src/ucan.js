/**
 * UCANs: how a person lets another one into a space (docs/ucan.md). A token holds the one it was made from,
 * so one text is a chain, from who presents it to the key the space was created with.
 *
 * What is checked is what a server checks (docs/tokens.md 7.2 and 7.3), read as strictly, so that a client
 * that goes by chains, as readers of the membership log do, comes to the same verdict.
 */

import { Bounded } from "./bounded.js";
import { b64url, concat, equal, fromHex, hex, randomBytes, sha256, utf8 } from "./bytes.js";
import { decodeDid } from "./did.js";
import { LessSyncError } from "./errors.js";
import { isText, signCompact, signedBy, splitJws } from "./jose.js";
import { integerMember, readJsonObject } from "./json.js";

/** @import { DeviceKey } from "./keys.js" */

/** Longer texts are refused unread. */
export const UCAN_CHARS_MAX = 65_536;
export const CHAIN_LINKS_MAX = 8;

const ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
const SPACE = "space:";
const NONCE_BYTES = 16;
/** Longer texts are verified each time: it bounds what is kept. */
const CACHED_CHARS_MAX = 4096;

/** @typedef {"read" | "write" | "admin"} Permission */
/** @type {readonly Permission[]} Each covers itself and those before. */
const PERMISSIONS = ["read", "write", "admin"];

/**
 * @typedef {object} Ucan One token whose signature is right; whether it grants anything `checkChain` decides.
 * @property {string} cid hex SHA-256 of the text: what a revocation names
 * @property {string} twinCid CID of the other text that verifies (docs/tokens.md 7.5)
 * @property {string} issuer
 * @property {Uint8Array} issuerKey compressed point, 33 bytes
 * @property {string | undefined} audience the first of `aud`, the only one that counts
 * @property {string} command
 * @property {Permission | undefined} permission what the command grants
 * @property {string} resource `space:` and an id
 * @property {boolean} nonce whether there is one
 * @property {bigint | undefined} exp
 * @property {bigint | undefined} nbf
 * @property {number} expiresAt Unix seconds; 0 without `exp`
 * @property {readonly string[]} proofs the texts of `prf`
 */

/**
 * @typedef {object} UcanChain The links from a token towards the root, as far as they can be read.
 * @property {readonly Ucan[]} links at most nine
 * @property {Ucan} leaf the token presented
 * @property {readonly string[]} cids what to look for among revocations
 */

/**
 * A token that is refused. `code` is `invalid_ucan`, `identity_mismatch`, `resource_mismatch`,
 * `attenuation_violation`, `ucan_expired`, `ucan_revoked`, `root_mismatch` or `chain_too_deep`.
 */
export class UcanRefused extends LessSyncError {
  /**
   * @param {string} code
   * @param {number} [depth] which link, counted from 0
   * @param {{cause?: unknown}} [options]
   */
  constructor(code, depth = 0, options = undefined) {
    super(code, `link ${depth + 1}: ${code}`, options);
    this.depth = depth;
  }
}

/** @type {Bounded<string, Ucan>} That a text is rightly signed, and what it says, never changes. */
const verified = new Bounded(512);

/**
 * Let somebody into a space with its root key.
 *
 * @param {DeviceKey} rootKey
 * @param {{space: string, to: string, permission: Permission, expiresAt: number}} grant Unix seconds
 * @returns {Promise<string>}
 */
export function issueRoot(rootKey, grant) {
  return issue(rootKey, grant, []);
}

/**
 * Let somebody into a space by what lets us in. The token never outlives its proof: `expiresAt` is lowered.
 * It may say more than the proof grants, and is refused then: compare `permission` first.
 *
 * @param {string} parent the UCAN that was given to `device`
 * @param {DeviceKey} device
 * @param {{to: string, permission: Permission, expiresAt: number}} grant Unix seconds
 * @returns {Promise<string>}
 * @throws {UcanRefused} the parent cannot be read
 */
export async function delegate(parent, device, { to, permission, expiresAt }) {
  const { exp, resource } = await parseUcan(parent);
  const until = exp !== undefined && exp < expiresAt ? Number(exp) : expiresAt;
  const grant = { space: resource.slice(SPACE.length), to, permission, expiresAt: until };
  return issue(device, grant, [parent]);
}

/**
 * @param {DeviceKey} device
 * @param {{space: string, to: string, permission: Permission, expiresAt: number}} grant
 * @param {string[]} prf
 */
function issue(device, { space, to, permission, expiresAt }, prf) {
  const claims = {
    aud: [to],
    cmd: `/space/${permission}`,
    exp: expiresAt,
    iss: device.did,
    nonce: b64url(randomBytes(NONCE_BYTES)),
    prf,
    with: `${SPACE}${space.toLowerCase()}`,
  };
  return signCompact(device, { alg: "ES256", typ: "JWT" }, utf8(JSON.stringify(claims)));
}

/**
 * The CID of a token's text, lower-case hex. Not a multiformats CID.
 *
 * @param {string} text
 * @returns {Promise<string>}
 */
export async function ucanCid(text) {
  return hex(await sha256(utf8(text)));
}

/**
 * Read one token and verify its signature with the key in `iss`.
 *
 * @param {string} text
 * @returns {Promise<Ucan>}
 * @throws {UcanRefused} `invalid_ucan`: anything about it is wrong
 */
export async function parseUcan(text) {
  const known = verified.get(text);
  if (known) return known;
  if (text.length > UCAN_CHARS_MAX) throw invalid(0);
  let ucan;
  try {
    ucan = await read(text);
  } catch (cause) {
    throw new UcanRefused("invalid_ucan", 0, { cause });
  }
  return text.length <= CACHED_CHARS_MAX ? verified.set(text, ucan) : ucan;
}

/**
 * @param {string} text
 * @returns {Promise<Ucan>}
 */
async function read(text) {
  const parts = splitJws(text);
  const claims = readJsonObject(parts.payload);
  const { iss, cmd, with: resource, nonce, prf = [] } = claims.members;
  const issuer = textOf(iss);
  const command = textOf(cmd, "");
  if (!(await signedBy(issuer, parts))) throw new SyntaxError("no signature");
  const exp = integerMember(claims, "exp");
  return {
    cid: await ucanCid(text),
    twinCid: await ucanCid(`${parts.input}.${b64url(twin(parts.signature))}`),
    issuer,
    issuerKey: decodeDid(issuer).compressed,
    audience: texts(claims.members.aud ?? [])[0],
    command,
    permission: PERMISSIONS.find((one) => command === `/space/${one}`),
    resource: textOf(resource, ""),
    nonce: textOf(nonce, "") !== "",
    exp,
    nbf: integerMember(claims, "nbf"),
    expiresAt: Number(exp ?? 0),
    proofs: texts(Array.isArray(prf) ? prf : null),
  };
}

/**
 * @param {unknown} value
 * @param {string} [absent]
 * @returns {string}
 */
function textOf(value, absent) {
  const found = value === undefined ? absent : value;
  if (!isText(found)) throw new SyntaxError("no text");
  return found;
}

/**
 * @param {unknown} value a text or a list of texts
 * @returns {string[]}
 */
function texts(value) {
  const found = Array.isArray(value) ? value : [value];
  return found.map((one) => textOf(one));
}

/** The other signature that verifies: s replaced by n - s. @param {Uint8Array} signature */
function twin(signature) {
  const s = ORDER - BigInt(`0x${hex(signature.subarray(32))}`);
  return concat(signature.subarray(0, 32), fromHex(s.toString(16).padStart(64, "0")));
}

/**
 * Read a token and the proofs it embeds. A proof that cannot be read ends the chain; `checkChain` refuses it.
 *
 * @param {string} text
 * @returns {Promise<UcanChain>}
 * @throws {UcanRefused} the token itself cannot be read
 */
export async function parseChain(text) {
  const leaf = await parseUcan(text);
  const links = [leaf];
  for (let last = leaf; links.length <= CHAIN_LINKS_MAX && last.proofs.length === 1; ) {
    const proof = await parseUcan(/** @type {string} */ (last.proofs[0])).catch(() => undefined);
    if (!proof) break;
    links.push((last = proof));
  }
  const cids = links.slice(0, CHAIN_LINKS_MAX).flatMap((link) => [link.cid, link.twinCid]);
  return { links, leaf, cids };
}

/**
 * @typedef {object} ChainQuestion What every link is held against.
 * @property {string} audience the DID the token must have been given to
 * @property {Permission} needed
 * @property {string} space
 * @property {Uint8Array} rootKey the space's root key, 33 bytes; where it is not known, the last link's
 * @property {Pick<ReadonlySet<string>, "has">} revoked CIDs
 * @property {number} nowS Unix seconds
 */

/**
 * Decide whether a chain grants `needed` in a space; checks 4 to 17 of docs/tokens.md 7.3 in their order.
 *
 * @param {UcanChain} chain
 * @param {ChainQuestion} question
 * @throws {UcanRefused} the first thing that is wrong
 */
export function checkChain({ links, leaf }, question) {
  if (leaf.audience !== question.audience) throw new UcanRefused("identity_mismatch");
  for (let depth = 0; depth < CHAIN_LINKS_MAX; depth++) {
    const link = /** @type {Ucan} */ (links[depth]);
    checkLink(link, question, depth);
    if (link.proofs.length === 0) {
      if (equal(link.issuerKey, question.rootKey)) return;
      throw new UcanRefused("root_mismatch", depth);
    }
    if (link.proofs.length > 1) throw invalid(depth);
    const proof = links[depth + 1]; // none: it cannot be read, or is not rightly signed
    if (!proof) throw invalid(depth);
    checkDelegation(link, proof, depth);
  }
  throw new UcanRefused("chain_too_deep", CHAIN_LINKS_MAX);
}

/**
 * Checks 5 to 11: what each link must be by itself.
 *
 * @param {Ucan} link
 * @param {ChainQuestion} question
 * @param {number} depth
 */
function checkLink(link, { space, needed, nowS, revoked }, depth) {
  const now = Math.floor(nowS);
  if (link.resource !== `${SPACE}${space.toLowerCase()}`) throw new UcanRefused("resource_mismatch", depth);
  if (!link.permission) throw invalid(depth);
  if (!covers(link.permission, needed)) throw exceeds(depth);
  if (link.exp === undefined) throw invalid(depth);
  // Good through the whole second `exp`, as access tokens are.
  if (now > link.exp) throw new UcanRefused("ucan_expired", depth);
  if ((link.nbf !== undefined && now < link.nbf) || !link.nonce) throw invalid(depth);
  const taken = revoked.has(link.cid) || revoked.has(link.twinCid);
  if (taken) throw new UcanRefused("ucan_revoked", depth);
}

/**
 * Checks 14 to 16: a link passes on no more than its proof gave, nor for longer.
 *
 * @param {Ucan} link
 * @param {Ucan} proof
 * @param {number} depth of the link
 */
function checkDelegation(link, proof, depth) {
  if (proof.audience !== link.issuer) throw new UcanRefused("identity_mismatch", depth);
  if (!proof.permission) throw invalid(depth + 1);
  const outlives = proof.exp !== undefined && link.exp !== undefined && link.exp > proof.exp;
  if (outlives || !covers(proof.permission, /** @type {Permission} */ (link.permission))) throw exceeds(depth);
}

/**
 * Whether holding one permission is enough where another one is asked for.
 *
 * @param {Permission} held
 * @param {Permission} needed
 * @returns {boolean}
 */
export function covers(held, needed) {
  return PERMISSIONS.indexOf(held) >= PERMISSIONS.indexOf(needed);
}

/** What a link says is not what a UCAN says. @param {number} depth */
function invalid(depth) {
  return new UcanRefused("invalid_ucan", depth);
}

/** A link grants less than is needed, or more than its proof. @param {number} depth */
function exceeds(depth) {
  return new UcanRefused("attenuation_violation", depth);
}
