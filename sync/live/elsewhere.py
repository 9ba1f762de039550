"""Who is present at other nodes, and what they say (docs/scaling.md 3.4).

Each node answers for its own people: it tells when one shows something, when one has left, and who is there
when it is asked. Nothing is stored, and the bus may lose, repeat and reorder what it is told. So the messages
of one node about one space are numbered like commits: each names the number of the one before it. What is not
newer than what is known is late or repeated, and is dropped; what does not follow upon what is known shows
that something was lost, and the node is asked for all of it. A node with nobody there forgets the number:
the next message, which follows upon nothing, says that nobody else is there.

The people of one node in one space are a *group* here. A group is *confirmed* by each message that follows
upon what is known, and every client repeats what it shows each half minute, so in good weather nobody has to
ask. A group that was not confirmed for longer than that (a lost departure of the last one, say) is asked for,
and dropped when nobody answers; the people of a node that is silent altogether are dropped sooner.

Nobody is held up: `subscribe` answers with what is known, and what comes of the question follows as
`presence`, to everybody who listens and about what they do not know yet.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from uuid import UUID

from less_sync.sync.limits import Limits
from less_sync.sync.live.bus import SUBJECT_OF_NODES, subject_of
from less_sync.sync.live.groups import PEER_CHARS_MAX, Group, Groups, Listened, OtherNode, Roll, Tell
from less_sync.sync.live.news import (
    SAID_BYTES_MAX,
    Alive,
    AnyNews,
    Asked,
    Event,
    Gone,
    Here,
    Left,
    Present,
)
from less_sync.sync.live.pace import Later, Pace, later
from less_sync.sync.live.presence import Presence
from less_sync.sync.protocol.messages import PresenceEntry
from less_sync.sync.protocol.notifications import event_notification

ALIVE_S: Final = 4.0
"""How often a node gives a sign of life."""
SILENCE_S_MAX: Final = 15.0
"""After which nobody is thought to be there any more."""
TICK_S: Final = 1.0
MORE_S: Final = 0.05
"""Until what was left over by a tick is done."""
ASK_AFTER: Final = 0.8
"""Part of `presence_stale_s` after which a group is asked for: clients repeat what they show before that."""
ASK_AGAIN_S: Final = 2.0
ASKS_MIN: Final = 2
"""Questions without an answer before a group is dropped."""
LOOKED_AT_PER_TICK: Final = 1000
NODES_MAX: Final = 4096
NAME_CHARS_MAX: Final = 128
PARTS_MAX: Final = 1024

_ITEM_BYTES: Final = 16
"""What an entry of an answer costs on the bus beside pseudonym and data."""

Heard = Event | Present | Left | Asked | Here | Alive | Gone
"""News that is taken here."""
Publish = Callable[[str, AnyNews], None]
"""Sends one message under a subject. Must not block or raise."""


class PresenceElsewhere:
    """Presence and events of the cluster's other nodes. All methods run on the event loop.

    Nothing travels in a space that is not listened to on the bus: one whose home is another server, say.

    Args:
        node: this one's id.
        tell: tells this node's clients of a space, never other servers.
        presence: this node's own people.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        node: bytes,
        *,
        publish: Publish,
        tell: Tell,
        presence: Presence,
        limits: Limits,
        clock: Callable[[], float],
        later: Later = later,
    ) -> None:
        self._node = node
        self.name = ""
        """What operators call this node; the others are told."""
        self._publish = publish
        self._tell = tell
        self._presence = presence
        self._limits = limits
        self._clock = clock
        self._pace = Pace(self._ask, self._answer, clock, later)
        self._numbers = 0
        self._events = 0
        self._own: dict[UUID, int] = {}
        """Spaces where somebody of this node is, with the number of the last message about it."""
        self._emptied: dict[UUID, None] = {}
        """Those where nobody may be left."""
        self._groups = Groups(tell, limits, clock)
        self._nodes: dict[bytes, OtherNode] = {}
        self._ending: dict[OtherNode, None] = {}
        """Nodes that are silent or gone, whose people are not all dropped yet."""
        self._gone: OrderedDict[bytes, float] = OrderedDict()
        """Nodes that have stopped, and when: what comes late of them is not heeded."""
        self._unsure: dict[Group, None] = {}
        self._ticked_s = clock()
        self._alive_s = float("-inf")
        self._nodes_ignored = 0

    # What this node tells.

    def present(self, space: UUID, peer: str, data: bytes) -> None:
        """Somebody here shows, or still shows, `data`."""
        if space not in self._groups.spaces or len(data) > SAID_BYTES_MAX:
            return
        prev, number = self._own.get(space, 0), self._next_number()
        self._own[space] = number
        self._publish(subject_of(space), Present(self._node, space.bytes, prev, number, peer, data))

    def left(self, space: UUID, peer: str) -> None:
        """Somebody is here no more; own `Presence` knows it already."""
        prev = self._own.get(space)
        if prev is None:
            return
        number = self._own[space] = self._next_number()
        # Several may have left before the first of them is told: the number is kept until a tick.
        if not self._presence.anybody(space):
            self._emptied[space] = None
        self._publish(subject_of(space), Left(self._node, space.bytes, prev, number, peer))

    def say(self, space: UUID, peer: str, data: bytes) -> None:
        """Somebody here sent an event."""
        if space not in self._groups.spaces or len(data) > SAID_BYTES_MAX:
            return
        self._events += 1
        self._publish(subject_of(space), Event(self._node, space.bytes, self._events, peer, data))

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    # Who listens here.

    def began(self, space: UUID) -> None:
        """From now on the news of a space is heard here."""
        self._groups.spaces.setdefault(space, Listened())

    def ended(self, space: UUID) -> None:
        """It is heard no more; nobody here is told anything."""
        state = self._groups.spaces.get(space)
        self._own.pop(space, None)
        if state is not None:
            for group in list(state.groups.values()):
                self._drop(group)
            del self._groups.spaces[space]

    def look(self, space: UUID) -> list[PresenceEntry]:
        """Who is known to be there at other nodes. The first time they are asked, and nobody waits for it."""
        state = self._groups.spaces.get(space)
        if state is not None and not state.wanted:
            state.wanted = True
            self._pace.ask(space)
        return self.others(space)

    def others(self, space: UUID) -> list[PresenceEntry]:
        """Who is known to be there at other nodes."""
        return self._groups.others(space)

    def count(self, space: UUID) -> int:
        """How many those are."""
        state = self._groups.spaces.get(space)
        return 0 if state is None else state.people

    @property
    def listened(self) -> tuple[UUID, ...]:
        """Spaces whose news is heard here."""
        return tuple(self._groups.spaces)

    def __len__(self) -> int:
        """How many people of other nodes are known; somebody in two spaces counts twice."""
        return len(self._groups)

    @property
    def names(self) -> list[str]:
        """What the nodes that give signs of life call themselves; empty texts of those that did not yet."""
        return sorted(node.name for node in self._nodes.values())

    @property
    def ignored(self) -> int:
        """Entries and messages that were not taken because there were too many, since the start."""
        return self._groups.ignored + self._nodes_ignored

    def reconnected(self) -> None:
        """The bus is there again, and nobody knows what was lost: say who is here, and ask."""
        self._give_sign()
        for space in self._own:
            self._pace.answer(space)
        for space, state in self._groups.spaces.items():
            if state.wanted:
                self._pace.ask(space)

    def _ask(self, space: UUID, whom: bytes) -> None:
        state = self._groups.spaces.get(space)
        if state is not None:
            self._note_question(state, whom)
            self._publish(subject_of(space), Asked(self._node, space.bytes, whom))

    def _note_question(self, state: Listened, whom: bytes) -> None:
        """Somebody asks, whose answer everybody hears: nobody needs to ask the same at the same time."""
        now_s = self._clock()
        asked = [state.groups[whom]] if whom in state.groups else []
        if not whom:
            state.asked_s = now_s
            asked = list(state.groups.values())
        for group in asked:
            group.asked_s = now_s
            group.asks += 1

    def _answer(self, space: UUID) -> int:
        """Say who is here; return how many bytes that took."""
        if space not in self._groups.spaces:
            return 0
        people = [
            (entry.peer, entry.data)
            for entry in self._presence.everybody(space)
            if len(entry.data) <= SAID_BYTES_MAX
        ]
        number = self._own.get(space)
        if number is None:
            number = self._numbers
            if people:
                number = self._own[space] = self._next_number()
        parts: list[list[tuple[str, bytes]]] = [[]]
        size = total = 0
        for peer, data in people:
            cost = len(peer) + len(data) + _ITEM_BYTES
            if size + cost > SAID_BYTES_MAX and parts[-1]:
                parts.append([])
                size = 0
            parts[-1].append((peer, data))
            size += cost
            total += cost
        for part, some in enumerate(parts):
            news = Here(self._node, space.bytes, number, part, len(parts), tuple(some))
            self._publish(subject_of(space), news)
        return total

    # What other nodes tell.

    def heard_of(self, node: bytes) -> None:
        """Other news of a node came: a sign of life."""
        if node in self._nodes:
            self._known(node)

    def hear(self, news: Heard) -> None:
        """Take what another node says. Never raises, whatever it says."""
        if isinstance(news, Gone):
            self._end_of(news.node)
            return
        node = self._known(news.node)
        if node is None:
            return
        if isinstance(news, Alive):
            node.name = news.name[:NAME_CHARS_MAX]
            return
        space = UUID(bytes=news.space)
        state = self._groups.spaces.get(space)
        if state is None:
            return
        if isinstance(news, Asked):
            if news.whom == self._node or (not news.whom and self._presence.anybody(space)):
                self._pace.answer(space)
            self._note_question(state, news.whom)
        elif isinstance(news, Event):
            self._event(node, space, news)
        else:
            self._heed(self._groups.group(node, state, space), news)

    def _known(self, node: bytes) -> OtherNode | None:
        """A node that gives a sign of life; None for one that has stopped, or is one too many."""
        if node in self._gone or node == self._node:
            return None
        known = self._nodes.get(node)
        if known is not None:
            known.heard_s = self._clock()
            self._ending.pop(known, None)
            return known
        if len(self._nodes) >= NODES_MAX:
            self._nodes_ignored += 1
            return None
        known = self._nodes[node] = OtherNode(node, self._clock())
        return known

    def _event(self, node: OtherNode, space: UUID, news: Event) -> None:
        fits = len(news.peer) <= PEER_CHARS_MAX and len(news.data) <= self._limits.event_bytes
        if fits and node.events.is_new(news.number):
            self._tell(space, lambda text: event_notification(text, peer=news.peer, data=news.data))

    def _heed(self, group: Group, news: Present | Left | Here) -> None:
        if isinstance(news, Here):
            self._here(group, news)
            return
        if news.number <= group.known:
            return  # late, or repeated
        follows = news.prev == group.known
        group.known, group.roll = news.number, None
        if isinstance(news, Present):
            if news.prev == 0:
                self._groups.keep_only(group, (news.peer,))
            self._groups.put(group, news.peer, news.data, told=True)
        else:
            self._groups.remove(group, news.peer)
        if news.prev == 0 or (follows and group.sure):
            self._confirm(group)
        else:
            self._doubt(group)

    def _here(self, group: Group, news: Here) -> None:
        """Take a part of an answer.

        Its people are shown at once, others are gone when all parts have come.
        """
        if news.number < group.known or not 0 <= news.part < news.parts <= PARTS_MAX:
            return
        roll = group.roll
        if roll is None or roll.number != news.number or roll.parts != news.parts:
            roll = group.roll = Roll(news.number, news.parts)
        group.known = news.number
        roll.seen.add(news.part)
        for peer, data in news.peers:
            self._groups.put(group, peer, data, told=False)
            if len(roll.named) < self._limits.presence_per_space:
                roll.named.add(peer)
        if len(roll.seen) < roll.parts:
            self._doubt(group)
            return
        group.roll = None
        self._groups.keep_only(group, roll.named)
        self._confirm(group)

    def _confirm(self, group: Group) -> None:
        self._groups.confirmed(group)
        self._unsure.pop(group, None)

    def _doubt(self, group: Group) -> None:
        """Something was missed: ask, unless that was done just now; then a tick does if need be."""
        group.sure = False
        self._unsure[group] = None
        self._ask_for(group)

    def _ask_for(self, group: Group) -> None:
        now_s = self._clock()
        if now_s - group.asked_s >= ASK_AGAIN_S:
            group.asked_s = now_s
            self._pace.ask(group.space, group.node.node)

    def _drop(self, group: Group) -> None:
        self._unsure.pop(group, None)
        self._groups.drop(group)

    # As time passes.

    def tick(self) -> float:
        """Give signs of life, notice who gives none, ask where something is missing.

        To be called again in as many seconds as it returns, from the beginning on.
        """
        now_s = self._clock()
        late_s = now_s - self._ticked_s - TICK_S
        self._ticked_s = now_s
        if late_s > TICK_S:
            # This process stood still, and what was sent to it meanwhile has not been read yet.
            for node in self._nodes.values():
                node.heard_s += late_s
        if now_s - self._alive_s >= ALIVE_S:
            self._give_sign()
        for space in self._emptied:
            if not self._presence.anybody(space):
                self._own.pop(space, None)
        self._emptied.clear()
        for node in self._nodes.values():
            if now_s - node.heard_s > SILENCE_S_MAX:
                self._ending[node] = None
        while self._gone and now_s - next(iter(self._gone.values())) > self._limits.presence_stale_s:
            self._gone.popitem(last=False)
        self._pace.forget_old(now_s)
        for group in list(self._unsure)[:LOOKED_AT_PER_TICK]:
            self._ask_for(group)
        self._look_at_oldest(now_s)
        return MORE_S if self._end_some() else TICK_S

    def _give_sign(self) -> None:
        self._alive_s = self._clock()
        self._publish(SUBJECT_OF_NODES, Alive(self._node, self.name))

    def _look_at_oldest(self, now_s: float) -> None:
        """Ask for groups that were not confirmed for long, and drop those for which nobody answers."""
        stale_s = self._limits.presence_stale_s
        due: list[Group] = []
        for group in self._groups.by_age():
            if len(due) >= LOOKED_AT_PER_TICK or now_s - group.confirmed_s < stale_s * ASK_AFTER:
                break
            due.append(group)
        for group in due:
            if group.entries:
                self._ask_for(group)
            if now_s - group.confirmed_s > stale_s and (group.asks >= ASKS_MIN or not group.entries):
                self._expire(group, oldest_s=now_s - stale_s)

    def _expire(self, group: Group, *, oldest_s: float) -> None:
        """Drop those of a group who were not heard of, and the group with the last one."""
        for peer in [peer for peer, entry in group.entries.items() if entry.seen_s < oldest_s]:
            self._groups.remove(group, peer)
        if not group.entries:
            self._drop(group)

    def _end_of(self, node: bytes) -> None:
        """A node has stopped."""
        self._gone[node] = self._clock()
        while len(self._gone) > NODES_MAX:
            self._gone.popitem(last=False)
        known = self._nodes.get(node)
        if known is not None:
            self._ending[known] = None
            self._end_some()

    def _end_some(self) -> bool:
        """Drop people of nodes that are no more, a bounded number at a time; True when some are left."""
        left = LOOKED_AT_PER_TICK
        for node in list(self._ending):
            for group in list(node.groups.values()):
                if left <= 0:
                    return True
                left -= 1 + len(group.entries)
                self._groups.keep_only(group, ())
                self._drop(group)
            del self._ending[node]
            del self._nodes[node.node]
        return False

    def close(self) -> None:
        """Say that this node has stopped. Its own people have left before."""
        self._pace.close()
        self._publish(SUBJECT_OF_NODES, Gone(self._node))
