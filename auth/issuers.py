"""The rules of one issuer (docs/tokens.md 4.5), and the set of all issuers that are trusted.

Tokens of an issuer of `TRUSTED_ISSUERS` are judged by docs/tokens.md 3.2 as it stands there. Those of an
issuer of `ISSUERS_FILE` are judged by what its table says: an `Issuer`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, Self

DEFAULT_ALGORITHMS: Final = frozenset({"ES256"})

ClientClaim = Literal["client_id", "azp"]


def normalize_issuer(issuer: str) -> str:
    """Remove every trailing slash; nothing else is the same issuer."""
    return issuer.rstrip("/")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token must have for one right: any one of these. Where nothing is named, nobody has it."""

    scopes: frozenset[str] = frozenset()
    audiences: frozenset[str] = frozenset()

    def covers(self, scopes: Iterable[str], audiences: Iterable[str]) -> bool:
        """Whether a token with these scopes and audiences has the right."""
        return not (self.scopes.isdisjoint(scopes) and self.audiences.isdisjoint(audiences))


@dataclass(frozen=True, slots=True)
class Issuer:
    """How tokens of one issuer of `ISSUERS_FILE` are judged."""

    name: str
    """Of its table: for messages only."""
    url: str
    """Normalised, as `iss` must be but for slashes at the end."""
    keys_url: str | None
    """Of the key set; None: the discovery document names it."""
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    """Of `ALGORITHMS`, at least one."""
    client_claim: ClientClaim = "client_id"
    """The claim that names the client."""
    client_fixed: str = ""
    """The client of every token, whatever the claim says; empty: the claim counts."""
    audiences: frozenset[str] = frozenset()
    """A token must name one of them; empty: one of `AUDIENCES`. Never empty where identities are derived."""
    sync: Grant = Grant(scopes=frozenset({"sync"}))
    files: Grant = Grant(scopes=frozenset({"files"}))
    derived: bool = False
    """True: personal space and mailbox are computed here and the claims of these names ignored."""

    @property
    def discovery_url(self) -> str:
        """Where the issuer describes itself (OpenID Connect Discovery 1.0, section 4)."""
        return f"{self.url}/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class TrustedIssuers:
    """Whose tokens are accepted, all of them normalised URLs; none is in both parts."""

    plain: frozenset[str] = frozenset()
    """Those of `TRUSTED_ISSUERS`."""
    ruled: Mapping[str, Issuer] = field(default_factory=lambda: MappingProxyType({}))
    """Those of `ISSUERS_FILE`, by URL."""
    algorithms: frozenset[str] = DEFAULT_ALGORITHMS
    """What any of them may use: ES256, and what the rules name."""

    @classmethod
    def of(cls, plain: Iterable[str], ruled: Iterable[Issuer] = ()) -> Self:
        """Put the two parts together."""
        rules = {issuer.url: issuer for issuer in ruled}
        return cls(
            plain=frozenset(plain),
            ruled=MappingProxyType(rules),
            algorithms=DEFAULT_ALGORITHMS.union(*(issuer.algorithms for issuer in rules.values())),
        )

    def __contains__(self, issuer: object) -> bool:
        return issuer in self.plain or issuer in self.ruled
