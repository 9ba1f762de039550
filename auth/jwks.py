"""Key sets of issuers (RFC 7517): reading one, and when to use, refresh or fetch it.

The cache is a value and every decision a pure function of it and the time, so each rule of
docs/tokens.md 4.3 can be tested without a network. `sync/access/key_fetch.py` does what is decided:

    decide(cache, kid) ─▶ USE ─────────────────────────────▶ the cached key, at once
                          REFRESH_BEHIND ──▶ start a fetch ─▶ the cached key, at once
                          REFRESH_FIRST ───▶ await a fetch ─▶ settle(cache, kid)
                          FETCH ───────────▶ await a fetch ─▶ settle(cache, kid)
                          UNKNOWN, UNAVAILABLE ─────────────▶ refused without any network

Times are seconds of a monotonic clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

from less_sync.auth.encoding import parse_json_object
from less_sync.auth.errors import MalformedText
from less_sync.auth.issuer_keys import IssuerKey, parse_jwk
from less_sync.auth.issuers import DEFAULT_ALGORITHMS

JWKS_BYTES_MAX: Final = 1_048_576
"""A key set document may have this many decoded bytes and no more."""

KEYS_MAX: Final = 256
"""Keys used of one set; the rest are ignored."""

_ENTRIES_MAX: Final = 4 * KEYS_MAX

Keys = Mapping[str, IssuerKey]
"""Key id to key."""


def parse_jwks(document: bytes, algorithms: frozenset[str] = DEFAULT_ALGORITHMS) -> Keys:
    """Read a key set for these algorithms; entries that are not usable are skipped.

    The last entry of a key id wins.

    Raises:
        MalformedText: larger than `JWKS_BYTES_MAX`, or no object with an array `keys`.
    """
    if len(document) > JWKS_BYTES_MAX:
        raise MalformedText
    entries = parse_json_object(document).get("keys")
    if not isinstance(entries, list):
        raise MalformedText
    keys: dict[str, IssuerKey] = {}
    for entry in entries[:_ENTRIES_MAX]:
        parsed = parse_jwk(entry, algorithms)
        if parsed is not None and (len(keys) < KEYS_MAX or parsed[0] in keys):
            keys[parsed[0]] = parsed[1]
    return MappingProxyType(keys)


@dataclass(frozen=True, slots=True)
class JwksPolicy:
    """How long keys are good and how often they may be fetched."""

    ttl_s: float = 3600.0
    stale_max_s: float = 86_400.0
    """Since the last successful fetch; then cached keys are no longer used."""
    forced_fetches: int = 5
    """Fetches that tokens with unknown key ids may cause at once; one more for each `forced_refill_s`."""
    forced_refill_s: float = 10.0
    retry_first_s: float = 1.0
    """Wait after a failed refresh, doubled with each further one up to `retry_max_s`."""
    retry_max_s: float = 30.0


class KeyDecision(Enum):
    """What to do about one token's key."""

    USE = auto()
    REFRESH_BEHIND = auto()
    REFRESH_FIRST = auto()
    FETCH = auto()
    UNKNOWN = auto()
    UNAVAILABLE = auto()


@dataclass(frozen=True, slots=True)
class KeyCache:
    """One issuer's keys and the history of fetching them."""

    keys: Keys = field(default_factory=dict, repr=False)
    fetched_at_s: float | None = None
    """The last successful fetch."""
    failures: int = 0
    """Failed fetches since then."""
    failed_at_s: float = 0.0
    forced: float = 0.0
    """Forced fetches counted against the bucket when `forced_at_s` was written."""
    forced_at_s: float = 0.0

    @property
    def ever_fetched(self) -> bool:
        """Whether there is a set, however old."""
        return self.fetched_at_s is not None

    def after_success(self, keys: Keys, now_s: float) -> "KeyCache":
        """The whole set is replaced: keys no longer published are gone."""
        return replace(self, keys=keys, fetched_at_s=now_s, failures=0)

    def after_failure(self, now_s: float) -> "KeyCache":
        """Keys and their age stay as they are."""
        return replace(self, failures=self.failures + 1, failed_at_s=now_s)

    def after_forced_start(self, policy: JwksPolicy, now_s: float) -> "KeyCache":
        """Count one fetch against the bucket."""
        return replace(self, forced=self._spent(policy, now_s) + 1, forced_at_s=now_s)

    def usable_key(self, kid: str, policy: JwksPolicy, now_s: float) -> IssuerKey | None:
        """The cached key, unless the set has reached the stale limit."""
        if self.fetched_at_s is None or now_s - self.fetched_at_s > policy.stale_max_s:
            return None
        return self.keys.get(kid)

    def decide(self, kid: str, policy: JwksPolicy, now_s: float) -> KeyDecision:
        """What a token with this key id needs (docs/tokens.md 4.3), no fetch being under way."""
        if self.fetched_at_s is not None and self.usable_key(kid, policy, now_s) is not None:
            return self._decide_known(now_s - self.fetched_at_s, policy, now_s)
        if self._spent(policy, now_s) + 1 <= policy.forced_fetches:
            return KeyDecision.FETCH
        return self.settle()

    def forced_in_s(self, policy: JwksPolicy, now_s: float) -> float:
        """Time until a token with an unknown key id may cause a fetch."""
        return max(0.0, self._spent(policy, now_s) + 1 - policy.forced_fetches) * policy.forced_refill_s

    def settle(self) -> KeyDecision:
        """The verdict on a key id that is not usable after the last fetch: UNKNOWN or UNAVAILABLE."""
        never_fetched = self.fetched_at_s is None
        return KeyDecision.UNAVAILABLE if self.failures or never_fetched else KeyDecision.UNKNOWN

    def _decide_known(self, age_s: float, policy: JwksPolicy, now_s: float) -> KeyDecision:
        if age_s <= policy.ttl_s or (self.failures and now_s - self.failed_at_s < self._retry_wait_s(policy)):
            return KeyDecision.USE
        return KeyDecision.REFRESH_BEHIND if age_s <= 2 * policy.ttl_s else KeyDecision.REFRESH_FIRST

    def _retry_wait_s(self, policy: JwksPolicy) -> float:
        doubled: float = policy.retry_first_s * 2.0 ** min(self.failures - 1, 30)
        return min(policy.retry_max_s, doubled)

    def _spent(self, policy: JwksPolicy, now_s: float) -> float:
        return max(0.0, self.forced - (now_s - self.forced_at_s) / policy.forced_refill_s)
