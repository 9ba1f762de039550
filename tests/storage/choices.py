"""Draws operations for the model test.

From bytes, so that what Hypothesis draws never depends on the outcome of a race. A choice may look at the
model, to be right often enough.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar
from uuid import UUID

from less_sync.storage import Caller, DekKind, RateSlot
from tests.storage import operations as op
from tests.storage.model import Model

T = TypeVar("T")

CIDS: Final = ("one", "two", "three")
MAILBOXES: Final = ("a" * 64, "b" * 64)
ACTORS: Final = ("c" * 64, "d" * 64)
BEYOND: Final = 1000
"""Above every cursor that an example can reach."""


class Choices:
    """What one operation is made of.

    Args:
        drawn: a byte for each choice; when they run out, the first alternative is taken.
        near: the space that operations at once mostly have in common.
        unique: four bytes that no other operation has.
        slots: rate slots that nobody has given back yet.
    """

    def __init__(
        self,
        drawn: bytes,
        model: Model,
        *,
        spaces: Sequence[UUID],
        near: UUID,
        records: Sequence[UUID],
        slots: list[RateSlot],
        unique: bytes,
    ) -> None:
        self._drawn = iter(drawn)
        self.model = model
        self.spaces = spaces
        self.records = records
        self.slots = slots
        self.unique = unique
        self.space = self.pick((near, near, near, *spaces))

    def pick(self, alternatives: Sequence[T]) -> T:
        return alternatives[next(self._drawn, 0) % len(alternatives)]

    def some(self, alternatives: Sequence[T]) -> list[T]:
        """Up to three, repeats possible."""
        return [self.pick(alternatives) for _ in range(self.pick((1, 2, 3, 0)))]

    def epoch(self) -> int:
        space = self.model.spaces.get(self.space)
        return self.pick((0, 0, 0, 0, 0, 0, -1, 1)) + (space.key_generation if space else 1)

    def dek(self) -> bytes:
        return max(1, self.epoch()).to_bytes(4, "big") + self.unique * 10

    def caller(self) -> Caller:
        """Mostly one who may."""
        space = self.model.spaces.get(self.space)
        shared = space is not None and space.root_public_key is not None
        right = Caller(cids=tuple(self.some(CIDS))) if shared else Caller(client="owner")
        caller = self.pick((right, right, right, Caller(), Caller(client="another"), Caller(cids=CIDS)))
        return replace(caller, local_only=self.pick((False, True)))

    def cursor(self) -> int:
        space = self.model.spaces.get(self.space)
        return self.pick((0, 1, -1, 2, space.cursor if space else 0, space.cursor // 2 if space else 0))

    def invitation(self) -> bytes:
        """One that was made before, deleted ones included; empty if there is none."""
        known = sorted(self.model.keys)
        return self.pick(known) if known else b""


def create_space(c: Choices) -> op.Operation:
    return op.CreateSpace(c.space, c.pick((op.ROOT_KEY, None)))


def get_or_create_space(c: Choices) -> op.Operation:
    return op.GetOrCreateSpace(c.space, c.pick(("owner", "another")))


def read_spaces(c: Choices) -> op.Operation:
    return op.ReadSpaces(c.some(c.spaces), [(c.pick(c.spaces), c.pick(CIDS)) for _ in range(2)])


def push(c: Choices) -> op.Operation:
    changes = []
    for id in dict.fromkeys(c.some(c.records)):
        record = c.model.records.get(id)
        right = record.cursor if record is not None and record.space == c.space else 0
        expected = c.pick((right, right, right, right, 0, 1))
        changes.append((id, expected, c.pick((c.unique, b"", None)), c.pick((c.dek(), None))))
    return op.PushRecords(c.space, changes, c.caller())


def move_home(c: Choices) -> op.Operation:
    return op.MoveHome(c.space, c.pick(("peer.example", None)))


def add_file(c: Choices) -> op.Operation:
    live = [(id, r) for id, r in sorted(c.model.records.items()) if not r.deleted]
    own = [id for id, record in live if record.space == c.space]
    record = c.pick(own or c.records)
    return op.AddFile(c.space, c.pick(c.records), record, c.dek())


def pull(c: Choices) -> op.Operation:
    space = c.model.spaces.get(c.space)
    # Beyond the cursor only far: a pull that is asks again, from 0, and pushes may come between.
    within = min(c.cursor(), space.cursor if space else 0)
    return op.Pull(c.space, c.pick((within, within, within, BEYOND)))


def append(c: Choices) -> op.Operation:
    log = c.model.members.get(c.space, ())
    last = log[-1].entry_hash if log else None
    version = len(log) + c.pick((0, 0, 0, 0, 1, -1))
    return op.Append(c.space, version, c.pick((last, last, last, b"", c.unique)), c.unique, c.caller())


def list_members(c: Choices) -> op.Operation:
    return op.ListMembers(c.space, c.pick((0, 1, 3)), c.some(CIDS))


def advance(c: Choices) -> op.Operation:
    return op.Advance(c.space, c.epoch() + 1, c.pick((True, False)), c.caller())


def complete(c: Choices) -> op.Operation:
    return op.Complete(c.space, c.epoch(), c.caller())


def list_deks(c: Choices) -> op.Operation:
    return op.ListDeks(c.pick(list(DekKind)), c.space, c.cursor())


def rewrap(c: Choices) -> op.Operation:
    kind = c.pick(list(DekKind))
    own = sorted(c.model.deks(kind, c.space))
    items = [(c.pick((c.pick(own or c.records),) * 4 + (c.records[0],)), c.dek()) for _ in c.some(c.records)]
    return op.Rewrap(kind, c.space, items, c.pick((None, c.cursor())), c.caller())


def revoke(c: Choices) -> op.Operation:
    return op.Revoke(c.space, c.pick(CIDS), c.caller())


def create_invitation(c: Choices) -> op.Operation:
    return op.CreateInvitation(c.pick(MAILBOXES), c.unique)


def list_invitations(c: Choices) -> op.Operation:
    return op.ListInvitations(
        c.pick(MAILBOXES), c.pick((50, 2, 1, 0)), c.pick((None, c.invitation() or None))
    )


def about_invitation(c: Choices) -> op.Operation:
    payload = c.invitation()
    if not payload:
        return create_invitation(c)
    mailbox = c.pick(MAILBOXES)
    operations: Sequence[op.Operation] = (
        op.GetInvitation(mailbox, payload),
        op.DeleteInvitation(mailbox, payload),
        op.ExpireInvitation(payload),
    )
    return c.pick(operations)


def purge_invitations(c: Choices) -> op.Operation:
    return op.PurgeInvitations()


def take_or_undo_slot(c: Choices) -> op.Operation:
    undo = c.pick((True, False))
    if undo and c.slots:
        return op.UndoSlot(c.slots.pop())
    return op.TakeSlot(c.pick(ACTORS))


MAKERS: Final[Sequence[Callable[[Choices], op.Operation]]] = (
    push,
    push,
    push,
    push,
    get_or_create_space,
    create_space,
    read_spaces,
    move_home,
    add_file,
    add_file,
    pull,
    pull,
    append,
    append,
    list_members,
    advance,
    advance,
    complete,
    list_deks,
    rewrap,
    rewrap,
    revoke,
    create_invitation,
    list_invitations,
    about_invitation,
    purge_invitations,
    take_or_undo_slot,
)
