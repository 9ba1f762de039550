"""The people of other nodes as they are known here: tables, bounds, and who is told of a change of them.

`elsewhere.py` decides what is believed; nothing here does. See docs/scaling.md 3.4.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator
from typing import Final
from uuid import UUID

from less_sync.sync.limits import Limits
from less_sync.sync.live.broker import Build
from less_sync.sync.protocol.messages import PresenceEntry
from less_sync.sync.protocol.notifications import presence_leave_notification, presence_notification

ELSEWHERE_BYTES_MAX: Final = 64 * 1024 * 1024
"""What is kept of all other nodes' people. Beyond it, newcomers are not shown here."""
PEER_CHARS_MAX: Final = 64
EVENT_WINDOW: Final = 1024
"""How far an event may come late. What is later than so many others of its node is taken for a repeated
one."""

_ENTRY_BYTES: Final = 400
"""What an entry costs beside its data, about; and what a group does."""

Tell = Callable[[UUID, Build], None]
"""Tells a space's clients, those of this node alone."""


class Seen:
    """Which numbers have come: all that is needed to know a repeated one."""

    __slots__ = ("_bits", "_highest")

    def __init__(self) -> None:
        self._highest = 0
        self._bits = 0
        """Bit `n`: `highest - n` has come."""

    def is_new(self, number: int) -> bool:
        """Note a number from 1; False when it has come before, or too late to know."""
        ahead = number - self._highest
        if ahead > 0:
            self._bits = (self._bits << min(ahead, EVENT_WINDOW) | 1) & ((1 << EVENT_WINDOW) - 1)
            self._highest = number
            return True
        if -ahead >= EVENT_WINDOW or self._bits >> -ahead & 1:
            return False
        self._bits |= 1 << -ahead
        return True


class Entry:
    """One person at another node."""

    __slots__ = ("data", "seen_s")

    def __init__(self, data: bytes, seen_s: float) -> None:
        self.data = data
        self.seen_s = seen_s
        """When it was last heard of by name."""


class Roll:
    """An answer in parts, of which not all have come."""

    __slots__ = ("named", "number", "parts", "seen")

    def __init__(self, number: int, parts: int) -> None:
        self.number = number
        self.parts = parts
        self.seen: set[int] = set()
        self.named: set[str] = set()


class OtherNode:
    """Another node that gives signs of life."""

    __slots__ = ("events", "groups", "heard_s", "name", "node")

    def __init__(self, node: bytes, heard_s: float) -> None:
        self.node = node
        self.heard_s = heard_s
        self.name = ""
        self.events = Seen()
        self.groups: dict[UUID, Group] = {}


class Group:
    """The people of one node in one space."""

    __slots__ = ("asked_s", "asks", "confirmed_s", "entries", "known", "node", "roll", "space", "sure")

    def __init__(self, node: OtherNode, space: UUID, *, now_s: float, asked_s: float) -> None:
        self.node = node
        self.space = space
        self.known = 0
        """The number of the last message heeded; kept when everybody has left, for those that come late."""
        self.sure = True
        """Nothing was missed since all of it was known."""
        self.entries: dict[str, Entry] = {}
        """By pseudonym."""
        self.roll: Roll | None = None
        self.confirmed_s = now_s
        self.asked_s = asked_s
        self.asks = 0
        """Since it was confirmed."""


class Listened:
    """A space that somebody here listens to."""

    __slots__ = ("asked_s", "groups", "people", "wanted")

    def __init__(self) -> None:
        self.groups: dict[bytes, Group] = {}
        """By node."""
        self.people = 0
        self.wanted = False
        """The others were asked."""
        self.asked_s = float("-inf")


class Groups:
    """All groups of one process. Nothing awaits.

    Bounded by `presence_per_space` people in a space, and by `bytes_max` in all.

    Args:
        clock: monotonic seconds.
    """

    def __init__(
        self,
        tell: Tell,
        limits: Limits,
        clock: Callable[[], float],
        *,
        bytes_max: int = ELSEWHERE_BYTES_MAX,
    ) -> None:
        self._tell = tell
        self._bytes_max = bytes_max
        self._limits = limits
        self._clock = clock
        self.spaces: dict[UUID, Listened] = {}
        self._by_age: OrderedDict[Group, None] = OrderedDict()
        self._bytes = 0
        self.ignored = 0
        """Entries that were not taken because there were too many, or too large."""

    def __len__(self) -> int:
        """How many people of other nodes are known, by all spaces."""
        return sum(state.people for state in self.spaces.values())

    def others(self, space: UUID) -> list[PresenceEntry]:
        """Who is known to be in a space."""
        state = self.spaces.get(space)
        if state is None:
            return []
        return [
            PresenceEntry(peer, entry.data)
            for group in state.groups.values()
            for peer, entry in group.entries.items()
        ]

    def group(self, node: OtherNode, state: Listened, space: UUID) -> Group:
        """A node's people in a space; none if nothing was heard of them."""
        group = state.groups.get(node.node)
        if group is None:
            group = Group(node, space, now_s=self._clock(), asked_s=state.asked_s)
            state.groups[node.node] = node.groups[space] = group
            self._by_age[group] = None
            self._bytes += _ENTRY_BYTES
        return group

    def confirmed(self, group: Group) -> None:
        """What is known of a group was said just now to be all of it."""
        group.sure = True
        group.asks = 0
        group.confirmed_s = self._clock()
        self._by_age.move_to_end(group)

    def by_age(self) -> Iterator[Group]:
        """All, those first that were confirmed least recently."""
        return iter(self._by_age)

    def put(self, group: Group, peer: str, data: bytes, *, told: bool) -> None:
        """Note what somebody shows, and tell it if it is new here, or `told` in any case."""
        limits, state, entry = self._limits, self.spaces[group.space], group.entries.get(peer)
        cost = len(data) + _ENTRY_BYTES if entry is None else len(data) - len(entry.data)
        fits = len(data) <= limits.presence_bytes and self._bytes + cost <= self._bytes_max
        if entry is None:
            fits = fits and len(peer) <= PEER_CHARS_MAX and state.people < limits.presence_per_space
        if not fits:
            self.ignored += 1
            return
        self._bytes += cost
        now_s = self._clock()
        if entry is None:
            group.entries[peer] = Entry(data, now_s)
            state.people += 1
            told = True
        else:
            told = told or entry.data != data
            entry.data, entry.seen_s = data, now_s
        if told:
            self._tell(group.space, lambda text: presence_notification(text, peer=peer, data=data))

    def remove(self, group: Group, peer: str) -> None:
        """Somebody has left, which is told if anybody knew of them."""
        entry = group.entries.pop(peer, None)
        if entry is not None:
            self._bytes -= len(entry.data) + _ENTRY_BYTES
            self.spaces[group.space].people -= 1
            self._tell(group.space, lambda text: presence_leave_notification(text, peer=peer))

    def keep_only(self, group: Group, named: Collection[str]) -> None:
        """All others have left."""
        for peer in [peer for peer in group.entries if peer not in named]:
            self.remove(group, peer)

    def drop(self, group: Group) -> None:
        """Forget a group without a word, and what is known of its order with it."""
        state = self.spaces[group.space]
        del state.groups[group.node.node]
        del group.node.groups[group.space]
        del self._by_age[group]
        state.people -= len(group.entries)
        self._bytes -= _ENTRY_BYTES + sum(len(one.data) + _ENTRY_BYTES for one in group.entries.values())
