"""Operators for tests: made at once, with passwords that are hashed at no cost and every check counted."""

from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from less_sync.fleet.passwords import Passwords
from tests.fleet.rig import Fleet

PASSWORD: Final = "correct horse battery"


@dataclass(slots=True)
class Checks:
    """What was asked of the hash function."""

    against: list[str] = field(default_factory=list)
    """What each password was checked against."""

    def verify(self, kept: str, password: str) -> bool:
        self.against.append(kept)
        return kept == hashed(password)


def hashed(password: str) -> str:
    """What stands for a password's hash."""
    return f"hash of {password}"


def cheap_passwords(fleet: Fleet) -> Checks:
    """Have this plane hash at no cost."""
    checks = Checks()
    fleet.plane.passwords = Passwords(hashed, checks.verify)
    return checks


async def employ(fleet: Fleet, username: str, role: str = "admin", *, password: str = PASSWORD) -> str:
    """A new operator's id."""
    made = await fleet.value(
        "INSERT INTO operators (id, username, password_hash, role) VALUES (gen_random_uuid(), $1, $2, $3) "
        "RETURNING id::text",
        username,
        hashed(password),
        role,
    )
    return str(made)


async def log_in(fleet: Fleet, username: str, password: str = PASSWORD, **headers: str) -> httpx.Response:
    """The answer to a sign-in."""
    content = {"username": username, "password": password}
    return await fleet.anonymous.post("/platform/v1/auth/login", json=content, headers=headers)


@dataclass(frozen=True, slots=True)
class Browser:
    """One that has signed in: its cookie, and what its pages send along."""

    fleet: Fleet
    cookie: str
    csrf: str

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request of a page; `headers` override."""
        headers = {"Cookie": self.cookie, "X-CSRF-Token": self.csrf, **options.pop("headers", {})}
        return await self.fleet.anonymous.request(method, path, headers=headers, **options)


async def signed_in(fleet: Fleet, username: str, password: str = PASSWORD) -> Browser:
    """A browser whose operator has signed in."""
    answer = await log_in(fleet, username, password)
    assert answer.status_code == 200, answer.text
    fleet.anonymous.cookies.clear()
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return Browser(fleet, cookie, answer.json()["csrf_token"])
