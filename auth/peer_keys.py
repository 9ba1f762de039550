"""Key sets of other servers (RFC 7517, RFC 8037): reading one, and when to use or fetch it.

As with the keys of issuers (`jwks`), the cache is a value and every decision a function of it and the time
(docs/federation.md 4.3). `federation/discovery.py` does what is decided. Times are monotonic seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, Final

from less_sync.auth.ed25519 import is_sound_point
from less_sync.auth.encoding import b64url_decode, parse_json_object, text_of
from less_sync.auth.errors import MalformedText

PEER_JWKS_BYTES_MAX: Final = 65_536
"""A key set may have this many bytes and no more."""
PEER_JWKS_ENTRIES_MAX: Final = 64

LIFE_S_MIN: Final = 60.0
LIFE_S_MAX: Final = 3600.0
"""Bounds of how long a set is good without another look; the larger one if it does not say."""
STALE_S_MAX: Final = 86_400.0
"""How long its keys are still good when another look fails, counted from its fetch."""
FORCED_S: Final = 60.0
"""Between two fetches that names of keys not in the set may cause."""
FAILED_S: Final = 30.0
"""For how long a failure is the answer."""

_KEY_BYTES: Final = 32
_MAX_AGE: Final = re.compile(r"(?:\A|,)\s*max-age\s*=\s*([0-9]{1,10})\s*(?=,|\Z)", re.IGNORECASE)

PublishedKeys = Mapping[str, bytes]
"""Name of a key, as published, to the 32 bytes of an Ed25519 public key, in the order of the document."""


def parse_peer_keys(document: bytes) -> PublishedKeys:
    """Read a key set; entries that are not usable are skipped, the first entry of a name counts.

    Usable: `kty` OKP, `crv` Ed25519, `kid` a string, `alg` absent or EdDSA, `use` absent, `federation` or
    `sig`, and `x` a point of the curve, 32 bytes of base64url with or without padding.

    Raises:
        MalformedText: too large, too many entries, or no object with an array `keys`.
    """
    if len(document) > PEER_JWKS_BYTES_MAX:
        raise MalformedText
    entries = parse_json_object(document).get("keys")
    if not isinstance(entries, list) or len(entries) > PEER_JWKS_ENTRIES_MAX:
        raise MalformedText
    keys: dict[str, bytes] = {}
    for entry in entries:
        parsed = _parse_entry(entry)
        if parsed is not None:
            keys.setdefault(*parsed)
    return keys


def _parse_entry(entry: object) -> tuple[str, bytes] | None:
    if not isinstance(entry, dict) or entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
        return None
    if entry.get("alg", "EdDSA") != "EdDSA" or entry.get("use", "sig") not in ("federation", "sig"):
        return None
    try:
        return text_of(entry.get("kid")), _point(entry)
    except MalformedText:
        return None


def _point(entry: dict[str, Any]) -> bytes:
    key = b64url_decode(text_of(entry.get("x")).removesuffix("="))
    if len(key) != _KEY_BYTES or not is_sound_point(key):
        raise MalformedText
    return key


class PeerKeyNeed(Enum):
    """What a key that is asked for needs."""

    NOTHING = auto()
    """The answer is in the cache, also that there is no such key."""
    FETCH = auto()
    """The set is not there, or too old."""
    FORCED_FETCH = auto()
    """The set is good and has no such key: perhaps it is a new one."""


@dataclass(frozen=True, slots=True)
class PeerKeyCache:
    """One server's key set, and the history of fetching it."""

    keys: PublishedKeys = field(default_factory=dict, repr=False)
    fetched_at_s: float | None = None
    life_s: float = LIFE_S_MAX
    failed_at_s: float | None = None
    """The last fetch, if it failed."""
    forced_at_s: float | None = None

    def after_success(self, keys: PublishedKeys, cache_control: str, now_s: float) -> "PeerKeyCache":
        """The whole set is replaced.

        Args:
            cache_control: the response's header, empty without one.
        """
        life_s = life_of(cache_control)
        return replace(self, keys=keys, fetched_at_s=now_s, life_s=life_s, failed_at_s=None)

    def after_failure(self, now_s: float) -> "PeerKeyCache":
        """Keys and their age stay as they are."""
        return replace(self, failed_at_s=now_s)

    def after_forced_start(self, now_s: float) -> "PeerKeyCache":
        """A key that is not in the set causes a fetch."""
        return replace(self, forced_at_s=now_s)

    def key(self, names: tuple[str, ...], now_s: float) -> bytes | None:
        """The first key published under one of these names, unless the set is past all use."""
        if self.fetched_at_s is None or now_s - self.fetched_at_s > STALE_S_MAX:
            return None
        return next((key for name, key in self.keys.items() if name in names), None)

    def need(self, names: tuple[str, ...], now_s: float) -> PeerKeyNeed:
        """What has to be done before `key` is the answer, no fetch being under way."""
        if self.failed_at_s is not None and now_s - self.failed_at_s < FAILED_S:
            return PeerKeyNeed.NOTHING
        if self.fetched_at_s is None or now_s - self.fetched_at_s > self.life_s:
            return PeerKeyNeed.FETCH
        if self.key(names, now_s) is not None:
            return PeerKeyNeed.NOTHING
        recently = self.forced_at_s is not None and now_s - self.forced_at_s < FORCED_S
        return PeerKeyNeed.NOTHING if recently else PeerKeyNeed.FORCED_FETCH


def life_of(cache_control: str) -> float:
    """Seconds a set is good for, by the `max-age` of its response (RFC 9111 5.2.2.1), within bounds."""
    found = _MAX_AGE.search(cache_control)
    return LIFE_S_MAX if found is None else min(LIFE_S_MAX, max(LIFE_S_MIN, float(found[1])))
