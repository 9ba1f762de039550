"""What `space-home` does with a database once its line is read: needs the libraries of the server."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import typer

from less_sync.auth import MalformedText, parse_peer_domain
from less_sync.bins.errors import CommandError
from less_sync.bins.postgres.operator import Database, work_on
from less_sync.federation.peer_urls import websocket_url
from less_sync.storage import HomeOutcome, HomeStatus, PostgresPool, PostgresSpaceHomeStore

_ROOT_KEY: Final = re.compile(r"0[23][0-9A-Fa-f]{64}", re.ASCII)
_REFUSALS: Final = {
    HomeStatus.HOLDS_CONTENT: "holds records, members or files here, which nobody would reach any more; "
    "--force changes its home all the same",
    HomeStatus.PERSONAL: "is a personal space: it has no root key, and its home is here",
    HomeStatus.OTHER_ROOT_KEY: "has another root key",
}


def parse_root_key(text: str) -> bytes:
    """A compressed P-256 point: 33 bytes, of which the first says so."""
    if not _ROOT_KEY.fullmatch(text):
        raise typer.BadParameter("expected 66 hex digits, the first two 02 or 03", param_hint="--root-key")
    return bytes.fromhex(text)


def parse_home(text: str) -> str:
    """What is kept of a home: a domain in its one form, or a URL as it stands.

    A URL says by which scheme and at which port the home is dialled, a domain is dialled with TLS unless it
    is this machine.
    """
    text = text.strip()
    try:
        if "://" in text:
            websocket_url(text)
            return text
        domain = "" if "/" in text else parse_peer_domain(text)
    except MalformedText:
        domain = ""
    if not domain:
        raise typer.BadParameter("expected a domain, or a ws, wss, http or https URL", param_hint="--home")
    return domain


def remote(url: str | None, data_dir: Path | None) -> Sequence[tuple[UUID, str]]:
    """All spaces whose home is elsewhere, and where."""

    async def work(pool: PostgresPool) -> Sequence[tuple[UUID, str]]:
        return await PostgresSpaceHomeStore(pool).remote()

    return work_on(Database(url, data_dir), work)


def home_of(url: str | None, data_dir: Path | None, space: UUID) -> str | None:
    """The home of a space; None: it is here.

    Raises:
        CommandError: there is no such space.
    """

    async def work(pool: PostgresPool) -> str | None:
        return await PostgresSpaceHomeStore(pool).get(space)

    return work_on(Database(url, data_dir), work)


def set_local(url: str | None, data_dir: Path | None, space: UUID) -> None:
    """Let a space have its home here.

    Raises:
        CommandError: there is no such space.
    """

    async def work(pool: PostgresPool) -> None:
        await PostgresSpaceHomeStore(pool).set_local(space)

    work_on(Database(url, data_dir), work)


def set_remote(
    url: str | None,
    data_dir: Path | None,
    space: UUID,
    root_key: bytes,
    home: str,
    *,
    whatever_it_holds: bool,
) -> bool:
    """Give a space its home at another server; True if it was not known here before.

    Raises:
        CommandError: the space is refused.
    """

    async def work(pool: PostgresPool) -> HomeOutcome:
        store = PostgresSpaceHomeStore(pool)
        return await store.set_remote(space, root_key, home, whatever_it_holds=whatever_it_holds)

    outcome = work_on(Database(url, data_dir), work)
    if outcome.status is not HomeStatus.DONE:
        raise CommandError(f"space {space} {_REFUSALS[outcome.status]}")
    return outcome.created
