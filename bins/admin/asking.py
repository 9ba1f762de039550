"""Asking the workers of this server, each over the Unix socket of its admin application."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import httpcore

from less_sync.bins.workers.places import WorkerPlace

ASK_S: Final = 3.0
"""How long a worker may take for an answer. `/readyz` may take 2 s, for the database."""
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024


class Answer(NamedTuple):
    """What a worker said."""

    status: int
    body: bytes


class Silent(Exception):
    """A worker did not answer in time, or too much, or its socket is gone."""


async def ask(place: WorkerPlace, method: str, path: str, *, within_s: float = ASK_S) -> Answer:
    """One request to one worker, over a connection of its own.

    Raises:
        Silent: there is no answer.
    """
    try:
        async with (
            asyncio.timeout(within_s),
            httpcore.AsyncConnectionPool(uds=str(place.socket)) as pool,
            pool.stream(method, f"http://localhost{path}") as response,
        ):
            body = bytearray()
            async for part in response.aiter_stream():
                body += part
                if len(body) > ANSWER_BYTES_MAX:
                    raise Silent
            return Answer(response.status, bytes(body))
    except (
        TimeoutError,
        OSError,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.TimeoutException,
    ) as error:
        raise Silent from error


async def ask_all(
    places: Sequence[WorkerPlace], method: str, path: str, *, within_s: float = ASK_S
) -> dict[WorkerPlace, Answer]:
    """The answers of those that answer in time. All are asked at once: twice `WORKERS_MAX` at most."""

    async def one(place: WorkerPlace) -> tuple[WorkerPlace, Answer] | None:
        try:
            return place, await ask(place, method, path, within_s=within_s)
        except Silent:
            return None

    found = await asyncio.gather(*map(one, places))
    return dict(answer for answer in found if answer is not None)
