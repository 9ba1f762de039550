"""Faults of frames that the checks of the protocol have to see, as rules for a `FaultProxy`."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, Final

import cbor2

from tests.federation.proxy import Way
from tests.validation.proxy import FaultProxy, Frame

WATCHED_SQL: Final = (
    "BETWEEN '6c657373-7379-8e63-8000-000000000000' AND '6c657373-7379-8e63-bfff-ffffffffffff'"
)
"""Ids of the spaces in which servers watch themselves: they change at any time (docs/operations.md 12.4)."""
NEWEST_SPACE_SQL: Final = (
    f"(SELECT id FROM spaces WHERE id NOT {WATCHED_SQL} ORDER BY created_at DESC LIMIT 1)"
)


def changed(
    way: Way,
    name: str,
    change: Callable[[Any], Any],
    *,
    at: int = 0,
    when: Callable[[Any], bool] = lambda _: True,
) -> Callable[[FaultProxy], None]:
    """Change the `at`-th frame of a name that is such, 0: each of them.

    What is looked at and changed is its result, data, params or error.
    """

    def make(proxy: FaultProxy) -> None:
        numbers = count(1)

        def whole(frame: Any) -> Any:
            key = next(one for one in ("result", "data", "params", "error") if one in frame)
            if when(frame[key]) and at in (0, next(numbers)):
                frame[key] = change(frame[key])
            return frame

        proxy.alter(way, name, whole)

    return make


def with_field(**fields: object) -> Callable[[Any], Any]:
    """A change: a map with these fields."""
    return lambda value: value | fields


def flipped(*names: str) -> Callable[[Any], Any]:
    """A change: a map, of whose byte string at this path the last bit is another one; empty ones stay."""

    def change(value: Any) -> Any:
        *path, last = names
        place = value
        for name in path:
            place = place[int(name)] if isinstance(place, list) else place[name]
        if place.get(last):
            place[last] = place[last][:-1] + bytes([place[last][-1] ^ 1])
        return value

    return change


def lost(
    way: Way, name: str, when: Callable[[Mapping[str, Any]], bool] = lambda _: True
) -> Callable[[FaultProxy], None]:
    """Lose the frames of a name whose data, params or result are such."""

    def make(proxy: FaultProxy) -> None:
        def rule(frame: Frame) -> Sequence[bytes] | None:
            if frame.seen.way is not way or frame.name != name:
                return None
            value = frame.seen.value
            return () if when(value.get("data") or value.get("params") or value.get("result") or {}) else None

        proxy.frames.append(rule)

    return make


def withheld(method: str, *, at: int) -> Callable[[FaultProxy], None]:
    """Withhold the `at`-th answer of a method, whether it succeeded or not."""

    def make(proxy: FaultProxy) -> None:
        numbers = count(1)

        def rule(frame: Frame) -> Sequence[bytes] | None:
            answer = frame.name in (f"{method}:result", f"{method}:error")
            return () if answer and next(numbers) == at else None

        proxy.frames.append(rule)

    return make


def author_included(proxy: FaultProxy) -> None:
    """Send each `sync` that goes to one connection to the author of the push too, behind its next answer."""
    last: list[bytes] = []

    def rule(frame: Frame) -> Sequence[bytes] | None:
        if frame.seen.way is Way.DOWN and frame.name == "sync":
            last[:] = [frame.seen.payload]
        if last and frame.seen.way is Way.DOWN and frame.name == "push:result":
            return frame.seen.payload, last.pop()
        return None

    proxy.frames.append(rule)


def event_to_author(proxy: FaultProxy) -> None:
    """Send back to its author each event, before the next answer."""
    sent: list[Any] = []

    def rule(frame: Frame) -> Sequence[bytes] | None:
        if frame.seen.way is Way.UP and frame.name == "event.send":
            sent[:] = [frame.seen.value["params"] | {"peer": "0" * 32}]
        if sent and frame.seen.way is Way.DOWN and frame.name == "?:error":
            return cbor2.dumps({"type": 2, "method": "event", "params": sent.pop()}), frame.seen.payload
        return None

    proxy.frames.append(rule)


def both(*makers: Callable[[FaultProxy], None]) -> Callable[[FaultProxy], None]:
    """Several faults at once."""

    def make(proxy: FaultProxy) -> None:
        for maker in makers:
            maker(proxy)

    return make


def at_once(work: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Do something to the end while the proxy, and whoever waits behind it, stands still."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(lambda: asyncio.run(work())).result(30)
