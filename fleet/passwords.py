"""Passwords of operators: argon2id, 64 MiB and two passes each, so only a few at once (docs/fleet.md 3.3)."""

import asyncio
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from nacl.exceptions import InvalidkeyError
from nacl.pwhash import argon2id

from less_sync.fleet.errors import Refused

T = TypeVar("T")

AT_ONCE: Final = 2
WAITING_MAX: Final = 20
"""Beyond those at work; whoever comes then is told to come again."""
BUSY_RETRY_S: Final = 1
CHARACTERS_MIN: Final = 12
CHARACTERS_MAX: Final = 256

NOBODYS: Final = f"$argon2id$v=19$m=65536,t=2,p=1${'A' * 22}${'A' * 43}"
"""What a password is checked against when there is no such operator: as much work, and no password fits."""


def hash_password(password: str) -> str:
    """`$argon2id$...` with the costs that the library calls interactive; about 0.1 s."""
    kept = argon2id.str(
        _bytes(password), opslimit=argon2id.OPSLIMIT_INTERACTIVE, memlimit=argon2id.MEMLIMIT_INTERACTIVE
    )
    return kept.decode("ascii")


def verify_password(kept: str, password: str) -> bool:
    """Whether a password is the one that was hashed; about 0.1 s whatever it is."""
    try:
        return argon2id.verify(kept.encode("ascii"), _bytes(password))
    except InvalidkeyError:
        return False


class Passwords:
    """Hashes and checks in two threads, which leaves the event loop alone.

    Args:
        hashing: as `hash_password`.
        verifying: as `verify_password`.
    """

    def __init__(
        self,
        hashing: Callable[[str], str] = hash_password,
        verifying: Callable[[str, str], bool] = verify_password,
    ) -> None:
        self._hashing = hashing
        self._verifying = verifying
        self._threads = ThreadPoolExecutor(AT_ONCE, "fleet-password")
        self._inside = 0
        self._lock = threading.Lock()

    async def hashed(self, password: str) -> str:
        """What is kept of a password.

        Raises:
            Refused: 503, too many are waiting.
        """
        return await self._run(lambda: self._hashing(password))

    async def match(self, kept: str | None, password: str) -> bool:
        """Whether a password is the one that was hashed. None, for an operator there is not, is as much work.

        Raises:
            Refused: 503, too many are waiting.
        """
        return await self._run(lambda: self._verifying(NOBODYS if kept is None else kept, password))

    def close(self) -> None:
        """Drop what waits; what is at work ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        # Counted until the thread is done, not until the caller is: a call that runs into its time limit
        # leaves its thread at work. If it still waits, it leaves the queue.
        with self._lock:
            if self._inside >= AT_ONCE + WAITING_MAX:
                raise Refused(503, "too many passwords to check", retry_after_s=BUSY_RETRY_S)
            self._inside += 1
        future = self._threads.submit(work)
        future.add_done_callback(self._done)
        return await asyncio.wrap_future(future)

    def _done(self, _future: "Future[T]") -> None:
        with self._lock:
            self._inside -= 1


def _bytes(password: str) -> bytes:
    """One spelling of a password, whichever way a keyboard composes its letters (RFC 8265 4.2.2)."""
    return unicodedata.normalize("NFC", password).encode()
