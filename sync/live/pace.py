"""Questions and answers about who is present, as fast as they may leave (docs/scaling.md 3.4).

A session that subscribes to 1,000 spaces asks in all of them; a thousand nodes may ask in one. What is asked
twice while it waits leaves once, and an answer serves everybody who asked until it left.
"""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

PACE_S: Final = 0.1
ASKS_PER_PACE: Final = 100
"""1,000 questions a second."""
ANSWERS_PER_PACE: Final = 20
ANSWER_BYTES_PER_PACE: Final = 512 * 1024
"""5 MiB of answers a second; one that is longer leaves alone."""
SPACE_ANSWERED_S: Final = 1.0
"""How long the answer in one space serves whoever asks again."""
LOOKED_AT_PER_PACE: Final = 1000
"""Of answers whose space was answered a moment ago."""


Later = Callable[[float, Callable[[], None]], asyncio.TimerHandle]
"""Calls something in so many seconds."""


def later(seconds: float, call: Callable[[], None]) -> asyncio.TimerHandle:
    """On the running event loop."""
    return asyncio.get_running_loop().call_later(seconds, call)


class Pace:
    """What is to be asked and answered. At most one entry a space and node of whom it is asked.

    Runs on one event loop; nothing awaits.

    Args:
        ask: sends a question in a space to one node, or to all when it is empty.
        answer: sends who is present in a space and returns how many bytes that took.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        ask: Callable[[UUID, bytes], None],
        answer: Callable[[UUID], int],
        clock: Callable[[], float],
        later: Later,
    ) -> None:
        self._ask = ask
        self._answer = answer
        self._clock = clock
        self._later = later
        self._asks: dict[tuple[UUID, bytes], None] = {}
        self._answers: dict[UUID, None] = {}
        self._answered_s: dict[UUID, float] = {}
        """When a space was answered, for as long as that matters; the oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, space: UUID, whom: bytes = b"") -> None:
        """Ask who is there, at once if nothing was sent just now."""
        self._asks[space, whom] = None
        self._go_on()

    def answer(self, space: UUID) -> None:
        """Say who is there, once a second at most."""
        self._answers[space] = None
        self._go_on()

    def forget_old(self, now_s: float) -> None:
        """Forget which spaces were answered so long ago that it does not matter any more."""
        while self._answered_s and now_s - next(iter(self._answered_s.values())) >= SPACE_ANSWERED_S:
            del self._answered_s[next(iter(self._answered_s))]

    def close(self) -> None:
        """Ask and answer nothing more."""
        self._asks.clear()
        self._answers.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _go_on(self) -> None:
        if self._timer is None and (self._asks or self._answers):
            self._send()
            self._timer = self._later(PACE_S, self._again)

    def _again(self) -> None:
        self._timer = None
        self._go_on()

    def _send(self) -> None:
        for _ in range(min(ASKS_PER_PACE, len(self._asks))):
            key = next(iter(self._asks))
            del self._asks[key]
            self._ask(*key)
        now_s = self._clock()
        self.forget_old(now_s)
        answers_left, bytes_left = ANSWERS_PER_PACE, ANSWER_BYTES_PER_PACE
        for _ in range(min(LOOKED_AT_PER_PACE, len(self._answers))):
            space = next(iter(self._answers))
            del self._answers[space]
            if space in self._answered_s:
                self._answers[space] = None
                continue
            self._answered_s[space] = now_s
            bytes_left -= self._answer(space)
            answers_left -= 1
            if answers_left == 0 or bytes_left <= 0:
                break
