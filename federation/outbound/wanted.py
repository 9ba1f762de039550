"""What is wanted of one home: which spaces, for which sessions, and what proves that they may.

An entry lives while a session uses it, while a request for it is under way, and `LINGER_S` beyond that, so
that a client that comes back at once finds the subscription still there; then the home is told that it is not
wanted any more (docs/federation.md 9.2).
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Final
from uuid import UUID

from less_sync.sync.forwarding import HomeSpace, Listener

LINGER_S: Final = 60.0
UNSUBSCRIBE_SPACES_MAX: Final = 1000
"""In one notification."""
UCAN_BYTES_PER_SESSION_MAX: Final = 2 * 1024 * 1024
UCAN_BYTES_PER_HOME_MAX: Final = 64 * 1024 * 1024
"""What is kept to subscribe again with. Sessions beyond it lose their spaces with the connection."""


class Entry:
    """One space at its home."""

    __slots__ = (
        "cursor",
        "idle_since_s",
        "pending",
        "refresh",
        "revocations",
        "sessions",
        "space",
        "surely",
        "token",
        "unchecked",
    )

    def __init__(self, space: UUID) -> None:
        self.space = space
        self.sessions: dict[Listener, str] = {}
        """Each with the UCAN that the home accepted last; "" when it was not kept."""
        self.token = ""
        """The home's own, by which this server subscribes again; "" when it gives none."""
        self.cursor: int | None = None
        """Of the last change that was relayed, or of the first answer; None when nothing is known."""
        self.surely: int | None = None
        """Up to which cursor everything was told, while a write with an unknown outcome is looked after.

        An answer to a later write of our own may take `cursor` beyond it. None: nothing is in doubt."""
        self.pending = 0
        """Requests under way: what overtakes their answers is relayed."""
        self.idle_since_s = 0.0
        self.refresh = False
        """The home must be asked for the cursor, or for the subscription itself."""
        self.revocations = 0
        """How many were heard of. What was asked before one, and is looked at after it, may rest on it."""
        self.unchecked: dict[Listener, bool] = {}
        """Sessions whose UCAN the home must be shown again; True for those that were told `revoked`."""

    def note(self, cursor: int) -> None:
        """A change was announced here."""
        if self.cursor is None or cursor > self.cursor:
            self.cursor = cursor

    @property
    def told(self) -> int | None:
        """Up to which cursor there is nothing that clients were not told."""
        return self.cursor if self.surely is None else self.surely

    def pushed(self, cursor: int) -> None:
        """A push from here was answered. Behind a gap it tells nobody of what came before it."""
        if self.cursor is None or cursor == self.cursor + 1:
            self.cursor = cursor

    def check_all(self) -> None:
        """The UCAN of every session must be shown again."""
        for listener in self.sessions:
            self.unchecked.setdefault(listener, False)

    def ucans(self) -> list[str]:
        """Every one that is kept, once."""
        return list(dict.fromkeys(ucan for ucan in self.sessions.values() if ucan))

    def holding(self, ucan: str) -> list[Listener]:
        """The sessions that use the space by it."""
        return [listener for listener, one in self.sessions.items() if one == ucan]


class Wanted:
    """All methods run on the event loop and none awaits.

    Args:
        dropped: told of spaces that nobody wants any more, at most `UNSUBSCRIBE_SPACES_MAX` at a time.
        linger_s: how long a space is kept that nobody uses.
    """

    def __init__(self, dropped: Callable[[Sequence[UUID]], None], *, linger_s: float = LINGER_S) -> None:
        self._dropped = dropped
        self._linger_s = linger_s
        self._entries: dict[UUID, Entry] = {}
        self._ucan_bytes: dict[Listener, int] = {}
        self._ucan_bytes_all = 0
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, space: UUID) -> Entry | None:
        """The entry of a space; None: what the home says about it is nobody's business here."""
        return self._entries.get(space)

    def entry(self, space: UUID) -> Entry:
        """The entry of a space, made if there is none."""
        entry = self._entries.get(space)
        if entry is None:
            entry = self._entries[space] = Entry(space)
        return entry

    def open(self, space: UUID) -> Entry:
        """A request for this space begins; to be followed by `close`."""
        entry = self.entry(space)
        entry.pending += 1
        return entry

    def close(self, entry: Entry) -> None:
        """A request has ended, whatever it brought."""
        entry.pending -= 1
        self._rest(entry)

    def grant(self, space: UUID, listener: Listener, ucan: str) -> None:
        """A session uses this space from now on."""
        entry = self.entry(space)
        self._forget_ucan(entry, listener)
        used = self._ucan_bytes.get(listener, 0) + len(ucan)
        kept = ucan
        if used > UCAN_BYTES_PER_SESSION_MAX or self._ucan_bytes_all + len(ucan) > UCAN_BYTES_PER_HOME_MAX:
            kept = ""
        elif ucan:
            self._ucan_bytes[listener] = used
            self._ucan_bytes_all += len(ucan)
        entry.sessions[listener] = kept
        entry.unchecked.pop(listener, None)

    def left(self, listener: Listener, space: UUID) -> None:
        """A session does not use this space any more."""
        entry = self._entries.get(space)
        if entry is not None and listener in entry.sessions:
            self._forget_ucan(entry, listener)
            del entry.sessions[listener]
            entry.unchecked.pop(listener, None)
            self._rest(entry)

    def learn(self, space: UUID, token: str, state: HomeSpace) -> None:
        """The home has subscribed us to it; of no use when nobody wants it any more."""
        entry = self._entries.get(space)
        if entry is None:
            return
        entry.token = token
        entry.refresh = False
        if entry.cursor is None or not entry.sessions:
            entry.cursor = state.cursor

    def stop(self) -> None:
        """The server stops: nobody is told of anything any more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None

    def _forget_ucan(self, entry: Entry, listener: Listener) -> None:
        kept = len(entry.sessions.get(listener, ""))
        if kept:
            self._ucan_bytes_all -= kept
            left = self._ucan_bytes[listener] - kept
            if left:
                self._ucan_bytes[listener] = left
            else:
                del self._ucan_bytes[listener]

    # Spaces that nobody uses.

    def _rest(self, entry: Entry) -> None:
        if entry.sessions or entry.pending:
            return
        loop = asyncio.get_running_loop()
        entry.idle_since_s = loop.time()
        if self._sweeping is None:
            self._sweeping = loop.call_later(self._linger_s, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = None
        loop = asyncio.get_running_loop()
        now_s = loop.time()
        idle = [entry for entry in self if not entry.sessions and not entry.pending]
        # The same sum as the timer's: another could come out later than the timer, which then spins.
        gone = [entry for entry in idle if entry.idle_since_s + self._linger_s <= now_s]
        for entry in gone:
            del self._entries[entry.space]
        if len(gone) < len(idle):
            kept = (entry.idle_since_s for entry in idle if entry.idle_since_s + self._linger_s > now_s)
            first_s = min(kept)
            self._sweeping = loop.call_at(first_s + self._linger_s, self._sweep)
        for begin in range(0, len(gone), UNSUBSCRIBE_SPACES_MAX):
            self._dropped([entry.space for entry in gone[begin : begin + UNSUBSCRIBE_SPACES_MAX]])
