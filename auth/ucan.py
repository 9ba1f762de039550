"""UCANs: capability tokens for a space, delegated from person to person (docs/tokens.md 7).

A token embeds the whole token it was made from, so one text is a chain:

    leaf, held by the caller ─prf─▶ ... ─prf─▶ root, issued by the key the space was created with

Deciding takes three steps, so that one database query serves a whole request:

    parse_chain(text) ─▶ chain.cids ─▶ the caller reads root key and revocations ─▶ check_chain(chain, ...)

A proof is always shorter than the token that embeds it; so no text comes twice in a chain, and eight
links are the only count there is.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import compare_digest
from typing import Any, Final
from uuid import UUID

from less_sync.auth.did_key import decode_did_key
from less_sync.auth.encoding import (
    b64url_decode,
    int_member,
    parse_json_object,
    text_member,
    text_of,
    texts_member,
)
from less_sync.auth.errors import (
    AttenuationViolation,
    ChainTooDeep,
    DidKeyError,
    IdentityMismatch,
    InvalidUcan,
    MalformedText,
    ResourceMismatch,
    RootMismatch,
    UcanExpired,
    UcanRevoked,
    UnknownPermission,
)
from less_sync.auth.es256 import Es256Signature
from less_sync.auth.permission import Permission
from less_sync.auth.tokens import header_fault

UCAN_CHARS_MAX: Final = 65_536
"""Longer texts are refused unread (docs/tokens.md 7.2)."""

CHAIN_LINKS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Ucan:
    """One token whose signature is right. Whether it grants anything is decided by `check_chain`."""

    cid: str = field(repr=False)
    """Lower-case hex of the SHA-256 of the text: what a revocation names."""
    twin_cid: str = field(repr=False)
    """CID of the other text that verifies: whoever holds this token can make it (docs/tokens.md 7.5)."""
    issuer: str = field(repr=False)
    issuer_key: bytes = field(repr=False)
    """The issuer's compressed public key, 33 bytes."""
    audience: str | None = field(repr=False)
    """The first of `aud`, the only one that counts."""
    command: str
    resource: str = field(repr=False)
    nonce: bool
    """Whether there is one."""
    expires_at: int | None
    not_before: int | None
    proofs: tuple[str, ...] = field(repr=False)
    """The texts of `prf`."""

    @property
    def cids(self) -> tuple[str, str]:
        """Both names under which this token may be revoked."""
        return self.cid, self.twin_cid


@dataclass(frozen=True, slots=True)
class UcanChain:
    """The links of a token, from the one presented towards the root, as far as they could be read.

    At most one link more than a chain may have is read: enough to tell that it is too long.
    """

    links: tuple[Ucan, ...]

    @property
    def leaf(self) -> Ucan:
        """The token presented."""
        return self.links[0]

    @property
    def cids(self) -> tuple[str, ...]:
        """What to look for among the revocations of the space: at most 16 CIDs."""
        return tuple(cid for link in self.links[:CHAIN_LINKS_MAX] for cid in link.cids)


def ucan_cid(text: str) -> str:
    """The CID of a token's text. Not a multiformats CID."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse_ucan(text: str) -> Ucan:
    """Read one token and verify its signature with the key in `iss` (docs/tokens.md 7.2).

    Raises:
        InvalidUcan: anything about it is wrong.
    """
    if len(text) > UCAN_CHARS_MAX or text.count(".") != 2:
        raise InvalidUcan("not three segments of at most 65,536 characters")
    header, payload, segment = text.split(".")
    try:
        if header_fault(parse_json_object(b64url_decode(header))) is not None:
            raise InvalidUcan("not plain ES256")
        claims = parse_json_object(b64url_decode(payload))
        signature = Es256Signature.parse(segment)
        issuer = text_of(claims.get("iss"))
        did = decode_did_key(issuer)
    except MalformedText:
        raise InvalidUcan("malformed") from None
    except DidKeyError:
        raise InvalidUcan("the issuer is no P-256 did:key") from None
    signing_input = f"{header}.{payload}"
    if not signature.verifies(did.key, signing_input.encode("ascii")):
        raise InvalidUcan("the signature is not the issuer's")
    try:
        return _typed(
            claims,
            issuer=issuer,
            issuer_key=did.compressed,
            cid=ucan_cid(text),
            twin_cid=ucan_cid(f"{signing_input}.{signature.twin_segment()}"),
        )
    except MalformedText:
        raise InvalidUcan("a claim is of the wrong type") from None


def _typed(claims: dict[str, Any], *, issuer: str, issuer_key: bytes, cid: str, twin_cid: str) -> Ucan:
    audiences = texts_member(claims, "aud")
    return Ucan(
        cid=cid,
        twin_cid=twin_cid,
        issuer=issuer,
        issuer_key=issuer_key,
        audience=audiences[0] if audiences else None,
        command=text_member(claims, "cmd"),
        resource=text_member(claims, "with"),
        nonce=text_member(claims, "nonce") != "",
        expires_at=int_member(claims, "exp"),
        not_before=int_member(claims, "nbf"),
        proofs=_proofs(claims),
    )


def _proofs(claims: dict[str, Any]) -> tuple[str, ...]:
    proofs = claims.get("prf", [])
    if not isinstance(proofs, list):
        raise MalformedText
    return tuple(text_of(proof) for proof in proofs)


class UcanCache:
    """Verified single tokens, the least recently used forgotten first (docs/tokens.md 7.6).

    Only what never changes is kept: that this text is rightly signed, and what it says. Expiry, audience
    and revocation are decided anew each time. For one event loop.

    Args:
        entries_max: tokens kept.
        chars_max: characters of embedded proofs kept in all.
    """

    def __init__(self, *, entries_max: int = 4096, chars_max: int = 16 * 1024 * 1024) -> None:
        self._entries_max = entries_max
        self._chars_max = chars_max
        self._chars = 0
        self._verified: OrderedDict[str, Ucan] = OrderedDict()

    def __len__(self) -> int:
        return len(self._verified)

    def parse(self, text: str) -> Ucan:
        """`parse_ucan`, remembered by the SHA-256 of the text.

        Raises:
            InvalidUcan: as `parse_ucan`; refusals are not remembered.
        """
        if len(text) > UCAN_CHARS_MAX:
            raise InvalidUcan("longer than 65,536 characters")
        cid = ucan_cid(text)
        known = self._verified.get(cid)
        if known is not None:
            self._verified.move_to_end(cid)
            return known
        ucan = parse_ucan(text)
        self._verified[cid] = ucan
        self._chars += _proof_chars(ucan)
        while len(self._verified) > self._entries_max or self._chars > self._chars_max:
            _, dropped = self._verified.popitem(last=False)
            self._chars -= _proof_chars(dropped)
        return ucan


def _proof_chars(ucan: Ucan) -> int:
    return sum(map(len, ucan.proofs))


def parse_chain(text: str, *, parse: Callable[[str], Ucan] = parse_ucan) -> UcanChain:
    """Read a token and the proofs it embeds; at most nine texts, each of them once.

    A proof that cannot be read ends the chain here; `check_chain` refuses it in its turn.

    Args:
        parse: `UcanCache.parse`, to verify no signature twice.

    Raises:
        InvalidUcan: the token itself cannot be read.
    """
    links = [parse(text)]
    while len(links) <= CHAIN_LINKS_MAX and len(links[-1].proofs) == 1:
        try:
            links.append(parse(links[-1].proofs[0]))
        except InvalidUcan:
            break
    return UcanChain(tuple(links))


@dataclass(frozen=True, slots=True)
class _Request:
    """What every link of a chain is held against."""

    resource: str
    needed: Permission
    revoked: Collection[str]
    now_s: int


def check_chain(
    chain: UcanChain,
    *,
    audience: str,
    needed: Permission,
    space_id: UUID,
    root_public_key: bytes,
    revoked: Collection[str],
    now: float,
) -> None:
    """Decide whether a chain grants `needed` in a space; the checks in the order of docs/tokens.md 7.3.

    Args:
        audience: the DID the token must have been given to: the caller's.
        root_public_key: as stored with the space; any form but 33 bytes matches no chain.
        revoked: those of `chain.cids` that are revoked in this space.
        now: Unix seconds.

    Raises:
        UcanError: the first thing that is wrong.
    """
    request = _Request(f"space:{space_id}", needed, revoked, int(now))
    if chain.leaf.audience != audience:
        raise IdentityMismatch("given to somebody else")
    depth = 0
    # One link of the chain each time, and a chain has nine at most.
    while depth < CHAIN_LINKS_MAX:
        link = chain.links[depth]
        granted = _check_link(link, request, depth)
        if not link.proofs:
            if not compare_digest(link.issuer_key, root_public_key):
                raise RootMismatch("not issued by the key the space was created with", depth=depth)
            return
        if len(link.proofs) > 1:
            raise InvalidUcan("more than one proof", depth=depth)
        depth += 1
        if depth == len(chain.links):
            raise InvalidUcan("the proof cannot be read or is not rightly signed", depth=depth - 1)
        _check_delegation(link, granted, chain.links[depth], depth - 1)
    raise ChainTooDeep("more than eight links", depth=depth)


def _check_link(link: Ucan, request: _Request, depth: int) -> Permission:
    """Checks 5 to 11 of docs/tokens.md 7.3: what each link must be by itself. Returns what it grants."""
    if link.resource != request.resource:
        raise ResourceMismatch("about another space", depth=depth)
    granted = _permission(link, depth)
    if not granted.covers(request.needed):
        raise AttenuationViolation("grants less than is needed", depth=depth)
    if link.expires_at is None:
        raise InvalidUcan("has no expiry", depth=depth)
    # Good through the whole second `exp`, as access tokens are.
    if request.now_s > link.expires_at:
        raise UcanExpired("has expired", depth=depth)
    if link.not_before is not None and request.now_s < link.not_before:
        raise InvalidUcan("is not valid yet", depth=depth)
    if not link.nonce:
        raise InvalidUcan("has no nonce", depth=depth)
    if link.cid in request.revoked or link.twin_cid in request.revoked:
        raise UcanRevoked("is revoked", depth=depth)
    return granted


def _check_delegation(link: Ucan, granted: Permission, proof: Ucan, depth: int) -> None:
    """Checks 14 to 16 of docs/tokens.md 7.3: a link passes on no more than its proof gave, nor for longer."""
    if proof.audience != link.issuer:
        raise IdentityMismatch("the proof was given to somebody else", depth=depth)
    if not _permission(proof, depth + 1).covers(granted):
        raise AttenuationViolation("grants more than its proof", depth=depth)
    if proof.expires_at is not None and link.expires_at is not None and link.expires_at > proof.expires_at:
        raise AttenuationViolation("outlives its proof", depth=depth)


def _permission(link: Ucan, depth: int) -> Permission:
    try:
        return Permission.from_command(link.command)
    except UnknownPermission:
        raise InvalidUcan("the command is unknown", depth=depth) from None
