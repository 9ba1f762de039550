"""What `token explain` finds: the checks of docs/tokens.md 3.2 one by one, as this server would make them.

The verdict is that of the server's own functions; here it is only put into words. The token and its signature
are never shown, and what else the token says only in JSON's spelling, cut short: a stranger may have made it.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import httpx

from less_sync.auth import (
    ALGORITHMS,
    TOKEN_CHARS_MAX,
    DiscoveryRefused,
    Identity,
    InvalidToken,
    Issuer,
    Keys,
    KeysUnavailable,
    MalformedText,
    TokenCheck,
    TokenError,
    TokenPolicy,
    TrustedIssuers,
    b64url_decode,
    parse_json_object,
    parse_jwks,
    parse_token,
    verify_did_proof,
    verify_token,
)
from less_sync.bins.dev import DevIssuer
from less_sync.bins.doctor.issuers import fetch_fault, shown_url
from less_sync.bins.settings.config import Settings
from less_sync.client.times import when
from less_sync.sync.access.grants import SCOPES, has_scope
from less_sync.sync.access.key_fetch import FetchRefused, KeySetPlace, fetch_key_set, key_set_places

SHOWN_CHARS_MAX: Final = 100
_LISTED_MAX: Final = 8


class Step(NamedTuple):
    """A row of docs/tokens.md 3.2: its number, what is looked at, and the checks that are made of it."""

    number: str
    what: str
    checks: frozenset[TokenCheck]


_C = TokenCheck
STEPS: Final = (
    Step("1", "there is a token", frozenset({_C.PRESENT})),
    Step("2", "its form", frozenset({_C.LENGTH, _C.SEGMENTS, _C.HEADER})),
    Step("3", "its header", frozenset({_C.ALGORITHM, _C.EXTENSION, _C.TYPE, _C.KEY_ID})),
    Step("4", "its payload", frozenset({_C.PAYLOAD, _C.ISSUER_TYPE})),
    Step("5", "its issuer", frozenset({_C.ISSUER})),
    Step("5a", "its kind", frozenset({_C.KIND, _C.EVENTS})),
    Step("6", "form of its signature", frozenset({_C.SIGNATURE_FORM})),
    Step("7", "its key", frozenset({_C.KEY, _C.KEYS_UNAVAILABLE})),
    Step("8", "its signature", frozenset({_C.KEY_ALGORITHM, _C.SIGNATURE})),
    Step("9", "types of its claims", frozenset({_C.CLAIM_TYPE})),
    Step("10", "its times", frozenset({_C.NO_EXPIRY, _C.EXPIRED, _C.NOT_YET})),
    Step("11", "its audience", frozenset({_C.AUDIENCE})),
    Step("12", "its user and client", frozenset({_C.SUBJECT, _C.NUL})),
    Step("13", "its personal space", frozenset({_C.PERSONAL_SPACE})),
    Step("14", "its scope", frozenset({_C.SCOPE})),
    Step("15", "proof of the DID", frozenset(one for one in TokenCheck if one.name.startswith("PROOF_"))),
)
"""The last two are made by whoever asked for a token to be verified (docs/tokens.md 2.2 and 11)."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the server of these settings asks of tokens."""

    issuers: TrustedIssuers
    places: Mapping[str, KeySetPlace] = field(repr=False)
    """By normalised issuer: where its key set is."""
    known: Mapping[str, Keys] = field(repr=False)
    """Keys that are not fetched: those of dev mode's issuer."""
    policy: TokenPolicy

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Read them from settings. Of dev mode's issuer the key is read if there is one, and none is made.

        Raises:
            KeyFileError: its file cannot be understood.
        """
        known: dict[str, Keys] = {}
        if settings.dev:
            made = (settings.data_dir / "dev" / "issuer.pem").exists()
            known[DevIssuer.issuer] = (
                parse_jwks(json.dumps(DevIssuer(settings.data_dir).jwks()).encode()) if made else {}
            )
        plain, ruled = settings.issuers.plain, settings.issuers.ruled
        return cls(
            issuers=TrustedIssuers.of([*plain, *known], ruled),
            places=key_set_places(plain, ruled),
            known=known,
            policy=settings.token_policy,
        )


@dataclass(slots=True)
class Finding:
    """What became of a token; filled in as far as the checks came."""

    failed: TokenCheck | None = None
    undecided: bool = False
    """The keys were not asked for, or could not be had: what comes behind them is not known."""
    detail: str = ""
    """About the check that failed, beyond its own words."""
    identity: Identity | None = None
    header: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    rules: Issuer | None = None


async def find(token: str, did_proof: str, rules: Rules, *, fetch: bool, now_s: float) -> Finding:
    """Make the checks until one fails.

    Args:
        did_proof: empty: there is none.
        fetch: whether the key set of the token's issuer may be asked for; no other address ever is.
    """
    finding = Finding(header=_segment(token, 0), claims=_segment(token, 1))
    try:
        unverified = parse_token(token, rules.issuers)
        finding.rules = unverified.rules
        keys = rules.known.get(unverified.issuer)
        if keys is None:
            if not fetch:
                finding.undecided = True
                return finding
            keys = await _fetched(rules.places[unverified.issuer], finding)
        key = keys.get(unverified.kid)
        if key is None:
            finding.detail = _keys_told(keys)
            raise InvalidToken(TokenCheck.KEY)
        identity = verify_token(unverified, key, policy=rules.policy, now=now_s)
        if not has_scope(identity, "sync"):
            raise InvalidToken(TokenCheck.SCOPE)
        finding.identity = identity
        if did_proof and identity.derived:
            verify_did_proof(did_proof, token, now_s)
    except TokenError as error:
        finding.failed = error.check
        finding.undecided = isinstance(error, KeysUnavailable)
    return finding


async def _fetched(place: KeySetPlace, finding: Finding) -> Keys:
    try:
        async with httpx.AsyncClient() as client:
            return await fetch_key_set(client, place)
    except (FetchRefused, DiscoveryRefused, MalformedText, TimeoutError, httpx.HTTPError, OSError) as error:
        finding.detail = fetch_fault(error)
        raise KeysUnavailable from None


def _segment(token: str, number: int) -> Mapping[str, Any]:
    """What a segment says, as far as it can be read: for people, who want to see it all the same."""
    try:
        return parse_json_object(b64url_decode(token.split(".")[number]))
    except (MalformedText, IndexError):
        return {}


def _keys_told(keys: Keys) -> str:
    if not keys:
        return "the key set has none that can be used"
    listed = ", ".join(shown(kid) for kid in list(keys)[:_LISTED_MAX])
    return f"the key set has {listed}{' and more' if len(keys) > _LISTED_MAX else ''}"


def shown(value: object) -> str:
    """A value of a token, which may be anything: in JSON's ASCII, so that no terminal obeys it, and short."""
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}..."


# In words.


@dataclass(frozen=True, slots=True)
class Line:
    """One step for a person. `outcome` is `ok`, `FAILS`, or `-`: not looked at."""

    outcome: str
    step: Step
    detail: str


def lines(token: str, did_proof: str, finding: Finding, rules: Rules, *, now_s: float) -> Sequence[Line]:
    """All steps in order: those that are passed, the one that fails, and those that were not looked at."""
    about = _Words(token, finding, rules, now_s)
    told: list[Line] = []
    over = False
    for step in STEPS:
        if over:
            told.append(Line("-", step, ""))
        elif finding.failed in step.checks:
            words = [str(finding.failed), about.of(step), finding.detail]
            told.append(Line("FAILS", step, "; ".join(word for word in words if word)))
            over = True
        elif finding.undecided and step.number == "7":
            told.append(Line("-", step, "not asked for"))
            over = True
        elif step.number == "15" and not (did_proof and _is_derived(finding)):
            told.append(Line("-", step, _why_no_proof(did_proof, finding)))
        else:
            told.append(Line("ok", step, about.of(step)))
    return told


def _is_derived(finding: Finding) -> bool:
    return finding.rules is not None and finding.rules.derived


def _why_no_proof(did_proof: str, finding: Finding) -> str:
    if _is_derived(finding):
        return "none given"
    return "not looked at: the claims are believed" if did_proof else "none needed"


@dataclass(frozen=True, slots=True)
class _Words:
    """What a token says about one step, and what is asked of it."""

    token: str
    finding: Finding
    rules: Rules
    now_s: float

    def of(self, step: Step) -> str:
        """Empty where there is nothing to tell."""
        words: dict[str, Callable[[], str]] = {
            "2": self._length,
            "3": self._header,
            "5": self._issuer,
            "10": self._times,
            "11": self._audience,
            "12": self._names,
            "13": self._space,
            "14": self._scope,
        }
        return words.get(step.number, str)()

    def _length(self) -> str:
        if self.finding.failed is not TokenCheck.LENGTH:
            return ""
        return f"{len(self.token):,} characters; accepted: {TOKEN_CHARS_MAX:,}"

    def _header(self) -> str:
        header, allowed = self.finding.header, self.rules.issuers.algorithms
        issuer = str(self.finding.claims.get("iss")).rstrip("/")
        if issuer in self.rules.issuers.ruled:
            allowed = self.rules.issuers.ruled[issuer].algorithms
        told = [f"{name} {shown(header[name])}" for name in ("alg", "typ", "kid", "crit") if name in header]
        accepted = ", ".join(name for name in ALGORITHMS if name in allowed)
        return f"{', '.join(told)}; accepted: {accepted}"

    def _issuer(self) -> str:
        named = shown(self.finding.claims.get("iss"))
        if self.finding.failed is TokenCheck.ISSUER:
            issuers = sorted([*self.rules.issuers.plain, *self.rules.issuers.ruled])
            listed = ", ".join(shown_url(issuer) for issuer in issuers[:_LISTED_MAX])
            return f"iss is {named}; trusted: {listed}"
        if self.finding.rules is None:
            return f"{named}, whose claims are believed"
        how = "identities are derived" if self.finding.rules.derived else "claims are believed"
        return f"{named}, [issuers.{self.finding.rules.name}] of ISSUERS_FILE: {how}"

    def _times(self) -> str:
        told = []
        for name, past in (("exp", "past"), ("nbf", "reached")):
            value = self.finding.claims.get(name)
            if type(value) is int:
                apart = value - self.now_s
                told.append(f"{name} {when(value)}, {_apart(apart, past)}")
        return "; ".join(told) or "it has no exp"

    def _audience(self) -> str:
        rules = self.finding.rules
        accepted = rules.audiences if rules is not None and rules.audiences else self.rules.policy.audiences
        told = f"aud is {shown(self.finding.claims.get('aud'))}"
        return f"{told}; accepted: {', '.join(sorted(accepted))}" if accepted else f"{told}; any is accepted"

    def _names(self) -> str:
        rules = self.finding.rules
        claim = "client_id" if rules is None else rules.client_claim
        needed = ["sub"] if rules is not None and rules.client_fixed else ["sub", claim]
        missing = [name for name in needed if not self.finding.claims.get(name)]
        return f"without {' and '.join(missing)}" if missing else f"{' and '.join(needed)} are there"

    def _space(self) -> str:
        identity = self.finding.identity
        if identity is None:
            return f"it claims {shown(self.finding.claims.get('personal_space_id'))}"
        if identity.personal_space is None:
            return "none is claimed"
        return f"{identity.personal_space}, {'derived' if identity.derived else 'as claimed'}"

    def _scope(self) -> str:
        identity = self.finding.identity
        if identity is None:
            return f"sync is not in {shown(self.finding.claims.get('scope', self.finding.claims.get('scp')))}"
        return ", ".join(scope for scope in SCOPES if has_scope(identity, scope))


def _apart(seconds: float, past: str) -> str:
    return f"in {_span(seconds)}" if seconds > 0 else f"{past} {_span(-seconds)} ago"


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
