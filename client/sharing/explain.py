"""A UCAN in words: each link of its chain, what it grants to whom and until when, and what refuses it.

The verdict is `auth.check_chain`'s, the rule the server applies; nothing here decides anything.
"""

from dataclasses import dataclass, field
from uuid import UUID

from less_sync.auth import (
    CHAIN_LINKS_MAX,
    AuthError,
    InvalidUcan,
    Permission,
    Ucan,
    UcanChain,
    UcanError,
    check_chain,
    parse_chain,
    parse_uuid,
)
from less_sync.client.times import when


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a database says about a space. `root_public_key` is None for a space without one; `exists` False
    for no space at all."""

    exists: bool
    root_public_key: bytes | None
    revoked: frozenset[str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Link:
    """One link: 1 is the token itself, the last the one issued by the space's root key."""

    number: int
    issuer: str
    audience: str
    grants: str
    space: str
    expires_at: int | None
    cid: str
    revoked: bool | None
    """None where no database was asked."""
    refused: str = ""
    """What is wrong with it, if it is the one that decides."""

    def words(self, *, last: bool) -> str:
        """One line for people."""
        issuer = f"{'the root key ' if last else ''}{self.issuer}"
        until = "for ever (which is refused)" if self.expires_at is None else f"until {when(self.expires_at)}"
        state = {True: "REVOKED", False: "not revoked", None: "revocation not checked"}[self.revoked]
        line = f"link {self.number}: {issuer}\n    lets {self.audience}\n    {self.grants}, {until}; {state}"
        line += f"\n    CID {self.cid}"
        return f"{line}\n    REFUSED: {self.refused}" if self.refused else line


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether `audience` may do `needed` in `space`, and why."""

    space: str
    audience: str
    needed: str
    allowed: bool
    reason: str
    links: tuple[Link, ...] = ()
    unchecked: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def words(self) -> str:
        """All of it for people."""
        lines = [f"space {self.space}: may {self.audience} {self.needed}?"]
        lines += [link.words(last=link is self.links[-1]) for link in self.links]
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"not checked: {name}" for name in self.unchecked]
        so_far = ", as far as could be checked" if self.allowed and self.unchecked else ""
        lines.append(f"yes{so_far}" if self.allowed else f"no: {self.reason}")
        return "\n".join(lines)


def space_of(token: str) -> UUID | None:
    """The space a token is about; None when it names none.

    Raises:
        InvalidUcan: it cannot be read.
    """
    resource = parse_chain(token).leaf.resource
    return parse_uuid(resource.removeprefix("space:")) if resource.startswith("space:") else None


def explain(
    token: str,
    *,
    space: UUID,
    needed: Permission | None,
    audience: str | None,
    evidence: Evidence | None,
    now_s: float,
) -> Explanation:
    """Explain what a token allows in a space.

    Args:
        needed: what is asked for; None for what the token grants.
        audience: who asks; None for the one the token was given to.
        evidence: of the database; None when there is none to ask.
    """
    try:
        chain = parse_chain(token)
    except InvalidUcan as error:
        wanted = needed.name.lower() if needed is not None else "use it"
        return Explanation(
            str(space), audience or "anybody", wanted, False, f"the token cannot be read: {error.reason}"
        )
    needed = needed or _granted(chain.leaf) or Permission.READ
    audience = audience or chain.leaf.audience or ""
    refused = _refusal(chain, needed, audience, space, evidence, now_s)
    links = tuple(_link(chain, depth, evidence, refused) for depth in range(len(chain.links)))
    notes = _notes(chain, space, evidence)
    if evidence is not None and (not evidence.exists or evidence.root_public_key is None):
        reason = "there is no such space" if not evidence.exists else "the space is a personal one"
        return Explanation(str(space), audience, needed.name.lower(), False, reason, links, (), notes)
    return Explanation(
        space=str(space),
        audience=audience,
        needed=needed.name.lower(),
        allowed=refused is None,
        reason="" if refused is None else f"link {refused.depth + 1}: {refused.reason}",
        links=links,
        unchecked=()
        if evidence is not None
        else (
            f"whether the issuer of link {len(links)} is the root key of the space",
            f"whether {'link 1' if len(links) == 1 else f'one of links 1 to {len(links)}'} was revoked",
        ),
        notes=notes,
    )


def _refusal(
    chain: UcanChain,
    needed: Permission,
    audience: str,
    space: UUID,
    evidence: Evidence | None,
    now_s: float,
) -> UcanError | None:
    """What the server would refuse it for; without a database, the last link is taken for the root."""
    root = chain.links[-1].issuer_key if evidence is None else evidence.root_public_key or b""
    try:
        check_chain(
            chain,
            audience=audience,
            needed=needed,
            space_id=space,
            root_public_key=root,
            revoked=frozenset() if evidence is None else evidence.revoked,
            now=now_s,
        )
    except UcanError as error:
        return error
    return None


def _link(chain: UcanChain, depth: int, evidence: Evidence | None, refused: UcanError | None) -> Link:
    link = chain.links[depth]
    granted = _granted(link)
    return Link(
        number=depth + 1,
        issuer=link.issuer,
        audience=link.audience or "nobody",
        grants=granted.name.lower() if granted is not None else f"an unknown command, {link.command!r}",
        space=link.resource.removeprefix("space:"),
        expires_at=link.expires_at,
        cid=link.cid,
        revoked=None if evidence is None else bool(evidence.revoked & set(link.cids)),
        refused=refused.reason if refused is not None and refused.depth == depth else "",
    )


def _notes(chain: UcanChain, space: UUID, evidence: Evidence | None) -> tuple[str, ...]:
    notes = [
        f"link {depth + 1} is about {link.resource!r}"
        for depth, link in enumerate(chain.links)
        if link.resource != f"space:{space}"
    ]
    if len(chain.links) > CHAIN_LINKS_MAX:
        notes.append(f"a chain has at most {CHAIN_LINKS_MAX} links")
    if evidence is not None and evidence.root_public_key is not None and not chain.links[-1].proofs:
        if chain.links[-1].issuer_key == evidence.root_public_key:
            notes.append(f"link {len(chain.links)} was issued by the root key of the space")
        else:
            notes.append(f"link {len(chain.links)} was not issued by the root key of the space")
    return tuple(notes)


def _granted(link: Ucan) -> Permission | None:
    try:
        return Permission.from_command(link.command)
    except AuthError:
        return None
