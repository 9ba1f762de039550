"""The check of the issuers: each key set is fetched as the server fetches it."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import httpx

from less_sync.auth import ALGORITHMS, DiscoveryRefused, Issuer, MalformedText
from less_sync.bins.doctor.database import SKEW_WARNED_S, clock_finding
from less_sync.bins.doctor.findings import Finding, State, failed, looked, not_applicable, ok
from less_sync.sync.access.key_fetch import (
    FETCH_TIMEOUT_S,
    FetchRefused,
    KeySetPlace,
    fetch_key_set,
    key_set_places,
)

AT_ONCE: Final = 8
REASON_CHARS_MAX: Final = 200
_ADVICE: Final = "until then its users hear 1013 and 503: correct the address, or see why it does not answer"


async def look_at_issuers(
    issuers: Mapping[str, str],
    now: Callable[[], float],
    *,
    ruled: Iterable[Issuer] = (),
    timeout_s: float = FETCH_TIMEOUT_S,
) -> Sequence[Finding]:
    """Fetch every key set, and before it the discovery document that names it where one does.

    Args:
        issuers: normalised issuer to the URL of its key set.
        now: seconds since 1970.
        ruled: issuers of `ISSUERS_FILE`.
    """
    sets = key_set_places(issuers, ruled)
    if not sets:
        return [not_applicable("issuers", "dev mode: the server is its own issuer, nothing is fetched")]
    places = asyncio.Semaphore(AT_ONCE)

    async def one(issuer: str, place: KeySetPlace) -> Sequence[Finding]:
        name = f"issuer {shown_url(issuer)}"
        async with places:
            return await looked(name, lambda: _fetch(name, place, now, timeout_s))

    found = await asyncio.gather(*(one(issuer, place) for issuer, place in sets.items()))
    return [finding for findings in found for finding in findings]


def shown_url(url: str) -> str:
    """A URL without who logs in there."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


async def _fetch(
    name: str, place: KeySetPlace, now: Callable[[], float], timeout_s: float
) -> Sequence[Finding]:
    dates: list[tuple[str, float]] = []

    async def note(response: httpx.Response) -> None:
        dates.append((response.headers.get("Date", ""), now()))

    began_s = time.monotonic()
    try:
        async with httpx.AsyncClient(event_hooks={"response": [note]}) as client:
            keys = await fetch_key_set(client, place, timeout_s=timeout_s)
    except (FetchRefused, DiscoveryRefused, MalformedText, TimeoutError, httpx.HTTPError, OSError) as error:
        return [failed(name, f"key set not fetched: {fetch_fault(error, timeout_s=timeout_s)}", _ADVICE)]
    took_s = time.monotonic() - began_s
    algorithms = ", ".join(name for name in ALGORITHMS if name in place.algorithms)
    how = ", found by discovery" if place.discovers else ""
    found = f"{len(keys)} usable keys for {algorithms}{how}, fetched in {1000 * took_s:.0f} ms"
    if not keys:
        todo = f"a usable key has a `kid` and is one for {algorithms}: see docs/tokens.md 4.4"
        return [failed(name, "the key set has no usable key", todo)]
    return [_with_clock(name, found, dates)]


def fetch_fault(error: Exception, *, timeout_s: float = FETCH_TIMEOUT_S) -> str:
    """Why a key set was not fetched, in a few words."""
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, MalformedText):
        return "the answer is no key set, or no discovery document"
    if isinstance(error, httpx.HTTPError | FetchRefused | DiscoveryRefused):
        return (str(error) or type(error).__name__)[:REASON_CHARS_MAX]
    return type(error).__name__


def _with_clock(name: str, found: str, dates: Sequence[tuple[str, float]]) -> Finding:
    """The finding, or what is wrong between the clocks. A `Date` has whole seconds."""
    text, at_s = dates[-1]
    try:
        # The middle of the second that is named: the best guess again.
        ahead_s = parsedate_to_datetime(text).timestamp() + 0.5 - at_s
    except ValueError:
        return ok(name, found)
    skewed = clock_finding(name, "its clock", ahead_s)
    if abs(ahead_s) <= SKEW_WARNED_S or skewed.state is State.OK:
        return ok(name, found)
    return Finding(name, skewed.state, f"{found}; {skewed.found}", skewed.todo)
