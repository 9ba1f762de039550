"""Passwords of operators: how they are hashed, and how many at once."""

import asyncio
import threading
import unicodedata

import pytest

from less_sync.fleet.errors import Refused
from less_sync.fleet.passwords import (
    AT_ONCE,
    NOBODYS,
    WAITING_MAX,
    Passwords,
    hash_password,
    verify_password,
)

pytestmark = pytest.mark.anyio


def test_a_hash_is_argon2id_with_64_mib_and_two_passes_and_takes_its_password_alone() -> None:
    kept = hash_password("gr\u00fcn ist die Hoffnung")
    assert kept.startswith("$argon2id$v=19$m=65536,t=2,p=1$")
    assert verify_password(kept, unicodedata.normalize("NFD", "gr\u00fcn ist die Hoffnung"))
    assert not verify_password(kept, "gr\u00fcn ist die Hoffnung ")


def test_nobodys_hash_is_as_much_work_and_takes_no_password() -> None:
    head = hash_password("x").rpartition("$")[0].rpartition("$")[0]
    assert NOBODYS.startswith(f"{head}$")
    assert len(NOBODYS) == len(hash_password("x"))
    assert not verify_password(NOBODYS, "")


class Gate:
    """Stands for the hash function: each call waits until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.full = threading.Event()
        self.at_work = 0
        self.most = 0
        self.calls = 0
        self._lock = threading.Lock()

    def verify(self, kept: str, password: str) -> bool:
        with self._lock:
            self.calls += 1
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            if self.at_work == AT_ONCE:
                self.full.set()
        assert self.open.wait(20)
        with self._lock:
            self.at_work -= 1
        return kept == password


async def test_two_are_checked_at_once_twenty_wait_and_the_others_are_told_to_come_again() -> None:
    gate = Gate()
    passwords = Passwords(verifying=gate.verify)
    waiting = [asyncio.create_task(passwords.match(str(n), "7")) for n in range(AT_ONCE + WAITING_MAX)]
    await asyncio.sleep(0)
    for _ in range(3):
        with pytest.raises(Refused) as caught:
            await passwords.match("7", "7")
        assert (caught.value.status, caught.value.retry_after_s) == (503, 1)
    gate.open.set()
    assert [await one for one in waiting] == [n == 7 for n in range(22)]
    assert (gate.most, gate.calls) == (AT_ONCE, 22)
    assert await passwords.match("7", "7")
    passwords.close()


async def test_a_call_that_gives_up_leaves_the_queue_but_not_its_thread() -> None:
    gate = Gate()
    passwords = Passwords(verifying=gate.verify)
    given_up = [asyncio.create_task(passwords.match("", "")) for _ in range(AT_ONCE + WAITING_MAX)]
    assert await asyncio.to_thread(gate.full.wait, 20)
    for task in given_up:
        task.cancel()
    assert all(
        isinstance(one, asyncio.CancelledError)
        for one in await asyncio.gather(*given_up, return_exceptions=True)
    )
    # The two at work still count; twenty more may wait, and no third thread begins.
    later = [asyncio.create_task(passwords.match("", "")) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    with pytest.raises(Refused):
        await passwords.match("", "")
    gate.open.set()
    assert all(await asyncio.gather(*later))
    assert (gate.most, gate.calls) == (AT_ONCE, AT_ONCE + WAITING_MAX)
    passwords.close()
