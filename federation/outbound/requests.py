"""`subscribe` and `pull` as a home is asked, and its answers as they are believed (docs/federation.md 9)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from less_sync.sync.forwarding import HomeSpace, PullInterrupted
from less_sync.sync.protocol.codes import ErrorCode
from less_sync.sync.protocol.errors import ParamsError
from less_sync.sync.protocol.frames import Chunk, encode_value
from less_sync.sync.protocol.messages import (
    PullCommit,
    SubscribeParams,
    SubscribeResult,
    SubscribeSpace,
    decode_params,
)

SPACES_MAX: Final = 1000
BYTES_MAX: Final = 3 * 1024 * 1024
"""Of what proves access, in one request: peers take messages of 4 MiB."""
TOKEN_CHARS_MAX: Final = 4096
"""Of a token that is kept for a space; ours have about a hundred."""
_ENTRY_BYTES: Final = 64


class Wish(NamedTuple):
    """One space to be subscribed to, and by what."""

    space: UUID
    since: int = 0
    ucan: str = ""
    token: str = ""


class Standing(NamedTuple):
    """What the home said to a wish that it granted."""

    state: HomeSpace
    token: str
    known: bool = True
    """False: the answer could not be read, and `state` says no more than the wish did."""


Answer = Standing | str
"""Granted, or an error code."""


def batches(wishes: Sequence[Wish]) -> Iterator[Sequence[Wish]]:
    """Cut into what one request may have."""
    begin = size_bytes = 0
    for index, wish in enumerate(wishes):
        weight = len(wish.ucan) + len(wish.token) + _ENTRY_BYTES
        if index > begin and (index - begin == SPACES_MAX or size_bytes + weight > BYTES_MAX):
            yield wishes[begin:index]
            begin, size_bytes = index, 0
        size_bytes += weight
    if begin < len(wishes):
        yield wishes[begin:]


def encode_wishes(wishes: Sequence[Wish]) -> bytes:
    """Params of `subscribe`. Existing servers compare ids as text: all are spelled as they announce them."""
    entries = [
        SubscribeSpace(id=str(wish.space), since=wish.since, ucan=wish.ucan, token=wish.token)
        for wish in wishes
    ]
    return encode_value(SubscribeParams(entries))


def read_answers(wishes: Sequence[Wish], result: object) -> list[Answer]:
    """What became of each; spaces that a home says nothing about are `internal`.

    A result that cannot be read is taken for success, as existing servers take it, but for no cursor.
    """
    try:
        read = decode_params(SubscribeResult, result)
    except ParamsError:
        return [Standing(HomeSpace(max(0, wish.since), 1, None), "", known=False) for wish in wishes]
    refused = {one.space: one.error for one in read.errors}
    granted = {
        one.id: Standing(
            HomeSpace(one.cursor, one.key_generation, one.rewrap_epoch),
            one.token if len(one.token) <= TOKEN_CHARS_MAX else "",
        )
        for one in read.spaces
    }
    texts = [str(wish.space) for wish in wishes]
    return [granted.get(text) or refused.get(text) or ErrorCode.INTERNAL for text in texts]


_ENTRIES: Final = ("pull.record", "pull.membership", "pull.file")


class PullCheck:
    """Holds the chunks of one space against what a pull is: begin, entries, commit with their number."""

    __slots__ = ("_begun", "_committed", "_count", "_space")

    def __init__(self, space: str) -> None:
        self._space = space
        self._begun = self._committed = False
        self._count = 0

    def take(self, chunk: Chunk) -> tuple[int, int]:
        """Look at the next one; return how many rows it is, and the bytes that they carry.

        Raises:
            PullInterrupted: it may not be passed on.
        """
        data = chunk.data
        if self._committed or type(data) is not dict or data.get("space") != self._space:
            raise PullInterrupted("a chunk behind the commit, or of another space")
        if chunk.name == "pull.begin" and not self._begun:
            self._begun = True
        elif chunk.name in _ENTRIES and self._begun:
            self._count += 1
            return 1, _carried_bytes(data)
        elif chunk.name == "pull.commit" and self._begun:
            self._commit(data)
        else:
            raise PullInterrupted("a chunk that has no place there")
        return 0, 0

    def _commit(self, data: object) -> None:
        try:
            count = decode_params(PullCommit, data).count
        except ParamsError:
            raise PullInterrupted("a commit that cannot be read") from None
        if count != self._count:
            raise PullInterrupted("another number of entries than the commit says")
        self._committed = True

    def end(self) -> None:
        """All chunks have come.

        Raises:
            PullInterrupted: some have not.
        """
        if self._begun and not self._committed:
            raise PullInterrupted("no commit")


def _carried_bytes(data: Mapping[str, object]) -> int:
    """Of blob and key; a log's entry is counted as none."""
    return sum(len(value) for value in (data.get("blob"), data.get("dek")) if type(value) is bytes)
