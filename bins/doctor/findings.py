"""What a check says, and how checks are run: none may hang, and none may end the others."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

BOUND_S: Final = 20.0
"""For one check. Its parts have shorter bounds of their own."""

T = TypeVar("T")


class State(StrEnum):
    """How it stands with what was looked at."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. Nothing secret is in it."""

    check: str
    state: State
    found: str
    todo: str = ""
    """What the operator can do; empty where nothing need be done."""


Look = Callable[[], Awaitable[Sequence[Finding]]]


def ok(check: str, found: str) -> Finding:
    """It is as it should be."""
    return Finding(check, State.OK, found)


def warning(check: str, found: str, todo: str) -> Finding:
    """It works, and should be different."""
    return Finding(check, State.WARNING, found, todo)


def failed(check: str, found: str, todo: str) -> Finding:
    """It does not work."""
    return Finding(check, State.FAILED, found, todo)


def not_applicable(check: str, found: str) -> Finding:
    """There is nothing to look at, or no way to."""
    return Finding(check, State.NOT_APPLICABLE, found)


async def looked(check: str, look: Look, *, bound_s: float = BOUND_S) -> Sequence[Finding]:
    """What a check finds; that it failed, if it takes longer than `bound_s` or raises."""
    try:
        async with asyncio.timeout(bound_s) as bound:
            return await look()
    except Exception as error:
        if isinstance(error, TimeoutError) and bound.expired():
            return [failed(check, f"no result within {bound_s:g} s", "find out what does not answer")]
        # The text of an unforeseen error may quote anything, so its kind must do.
        return [
            failed(check, f"the check ended with {type(error).__name__}", "report it: this is a fault here")
        ]


async def in_thread(work: Callable[[], T]) -> T:
    """Do what may block in a thread that nobody waits for when the process ends: a disk may hang for ever."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]  # without an error it is the result
        else:
            future.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return await future
