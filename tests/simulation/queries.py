"""The named queries of `storage/sql`, each as a function over `Tables`. Anything else is refused."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from hashlib import sha256
from itertools import accumulate
from typing import Any, Final
from uuid import UUID

import asyncpg

from tests.simulation.system import QUERIES, Caller
from tests.simulation.tables import InvitationRow, Row, Tables, space_row

Args = Sequence[Any]  # Any: what the stores pass to the driver
Query = Callable[[Tables, Args], list[Row]]

BIGGEST: Final = 2**63 - 1
NAMES: Final = {query.text: name for name, query in QUERIES.items()}
"""The name of each query by its text."""


PUSHES_TOGETHER: Final = frozenset({"push_changes", "push_packed", "push_batch"})
"""Their arguments are arrays, of the spaces, then of the clients, and each push has a row of its own."""
PUSHES: Final = PUSHES_TOGETHER | {"push", "push_change", "push_many"}


def locked(name: str, args: Args) -> list[UUID]:
    """The spaces whose rows a query locks, in its order."""
    if name in PUSHES_TOGETHER:
        spaces = map(UUID, _elements(args[0])) if name == "push_changes" else args[0]
        return list(dict.fromkeys(spaces))
    return [args[0]] if name in LOCKING else []


IDS: Final = {"push": 1, "push_change": 1, "push_batch": 8, "rewrap": 2}
"""Where ids stand that may come as text: an array of them, or one."""
LOCKING: Final = frozenset(
    {
        "push",
        "push_change",
        "push_many",
        "append_member",
        "revoke",
        "advance_epoch",
        "complete_rewrap",
        "rewrap",
        "record_file",
    }
)
IN_TRANSACTION: Final = frozenset({"lock_file", "record_file", "forget_file"})
"""What belongs to a transaction that writes: the database sees to locks and to the commit."""
WRITING: Final = (
    (LOCKING - IN_TRANSACTION)
    | PUSHES_TOGETHER
    | {
        "create_space",
        "get_or_create_space",
        "create_invitation",
        "delete_invitation",
        "take_rate",
        "undo_rate",
    }
)
"""What leaves something behind when its answer is lost."""


def answer(name: str, tables: Tables, args: Args) -> list[Row] | Exception:
    """What comes back: rows, or why driver or database refuse the arguments, whereupon nothing is written."""
    if any("\x00" in text for text in _texts(args)):
        return asyncpg.CharacterNotInRepertoireError("invalid byte sequence for encoding")
    position = IDS.get(name)
    if position is not None:
        try:
            stands = args[position]
            ids = [_id(one) for one in stands] if isinstance(stands, list | tuple) else _id(stands)
        except ValueError:
            return asyncpg.DataError("invalid input for query argument")
        args = (*args[:position], ids, *args[position + 1 :])
    elif name == "push_changes":
        try:
            args = _changes(args)
        except ValueError:
            return asyncpg.InvalidTextRepresentationError("invalid input syntax for type uuid")
    return MODELLED[name](tables, args)


def _changes(args: Args) -> Args:
    """Arguments of `push_changes` with its arrays that come as text."""
    spaces, clients, cids, min_epochs, local_only, ids, expected, *values = args
    space_ids, record_ids = map(UUID, _elements(spaces)), map(UUID, _elements(ids))
    cursors = _numbers(expected)
    return (
        list(space_ids),
        clients,
        cids,
        _numbers(min_epochs),
        local_only,
        list(record_ids),
        cursors,
        *values,
    )


def _id(given: UUID | str | None) -> UUID | None:
    return UUID(given) if isinstance(given, str) else given


def _texts(args: Args) -> Iterator[str]:
    for one in args:
        if isinstance(one, str):
            yield one
        elif isinstance(one, list | tuple):
            yield from (text for text in one if isinstance(text, str))


def _push(tables: Tables, args: Args) -> list[Row]:
    space, ids, expected, blobs, deks, client, cids, min_epoch, local_only = args
    expected, deks = expected or [0] * len(ids), deks or [None] * len(ids)
    caller = Caller(client, cids, local_only=local_only)
    return [tables.push(space, ids, expected, blobs, deks, caller, min_epoch)]


def _push_change(tables: Tables, args: Args) -> list[Row]:
    space, id, expected, blob, dek, *whose = args
    return _push(tables, (space, [id], [expected], [blob], [dek], *whose))


def _push_many(tables: Tables, args: Args) -> list[Row]:
    space, ids, expected, blobs, sizes, deks, *whose = args
    return _push(tables, (space, *_unpacked(ids, expected, blobs, sizes, deks), *whose))


def _unpacked(
    ids: bytes, expected: Sequence[int], blobs: bytes, sizes: str, deks: bytes | None
) -> tuple[list[UUID], list[int], list[bytes | None], list[bytes | None]]:
    """Packed columns one by one."""
    lengths = _numbers(sizes)
    each = range(len(lengths))
    ends = list(accumulate((length or 0 for length in lengths), initial=0))
    return (
        [UUID(bytes=ids[16 * n : 16 * n + 16]) for n in each],
        list(expected) or [0] * len(lengths),
        [None if lengths[n] is None else blobs[ends[n] : ends[n + 1]] for n in each],
        [None if deks is None else deks[44 * n : 44 * n + 44] for n in each],
    )


def _elements(array: str) -> list[str]:
    """Those of an array that comes as text."""
    return array.strip("{}").split(",") if array != "{}" else []


def _numbers(array: str) -> list[int | None]:
    return [None if element == "NULL" else int(element) for element in _elements(array)]


def _push_changes(tables: Tables, args: Args) -> list[Row]:
    columns = [column or [None] * len(args[1]) for column in args]
    rows: list[Row] = []
    for space, client, cids, min_epoch, local_only, id, expected, blob, dek in zip(*columns, strict=True):
        whose = client, cids.split(",") if cids else None, min_epoch, bool(local_only)
        rows += _push_change(tables, (space, id, expected or 0, blob, dek, *whose))
    return rows


def _push_packed(tables: Tables, args: Args) -> list[Row]:
    columns = _unpacked(*args[10:15])
    return _push_batch(tables, (*args[:6], *args[8:10], *columns, args[15]))


def _push_batch(tables: Tables, args: Args) -> list[Row]:
    ids, expected, blobs, deks, cids = args[8:]
    rows: list[Row] = []
    for space, client, local_only, min_epoch, first, last, first_cid, last_cid in zip(*args[:8], strict=True):
        part = slice(first - 1, last)
        own = cids[first_cid - 1 : last_cid] if last_cid >= first_cid else None
        caller = Caller(client, own, local_only=local_only)
        rows.append(tables.push(space, ids[part], expected[part], blobs[part], deks[part], caller, min_epoch))
    return rows


# Pulls.


def _entries(tables: Tables, space: UUID, above: int, *, tombstones: bool) -> list[Row]:
    """In the columns of a pulled row, in order."""
    rows: list[tuple[Any, ...]] = [
        (1, r.cursor, id, r.blob, r.dek, None, None, None, r.blob is None)
        for id, r in tables.records.items()
        if r.space == space and r.cursor > above and (tombstones or r.blob is not None)
    ]
    rows += [
        (2, m.cursor, None, m.payload, m.entry_hash, m.prev_hash, None, m.chain_seq, False)
        for m in tables.members.get(space, ())
        if m.cursor > above
    ]
    rows += [
        (3, f.cursor, id, None, f.dek, None, f.record, f.size, f.deleted)
        for (where, id), f in tables.files.items()
        if where == space and f.cursor > above and (tombstones or not f.deleted)
    ]
    rows.sort(key=lambda row: (row[1], row[0], row[2] or UUID(int=0)))
    return list(rows)


def _cut(row: tuple[Any, ...], bytes_max: int, *, length: bool) -> Row:
    """Leave out a value that is too long."""
    kind, cursor, id, b1, b2, b3, rid, n, deleted = row
    if b1 is None or len(b1) <= bytes_max:
        return row
    return -kind, cursor, id, None, b2, b3, rid, len(b1) if length and kind == 1 else n, deleted


def _meta(tables: Tables, space: UUID) -> Row:
    row = tables.spaces[space]
    return row.cursor, row.key_generation, row.rewrap_epoch, row.root_public_key is not None


def _pull_first(tables: Tables, args: Args) -> list[Row]:
    space, since, limit, bytes_max = args
    if space not in tables.spaces:
        return []
    meta = _meta(tables, space)
    rows = _entries(tables, space, since, tombstones=since != 0)[:limit]
    return [(*_cut(row, bytes_max, length=False), *meta) for row in rows] or [(*(None,) * 9, *meta)]


def _pull_meta(tables: Tables, args: Args) -> list[Row]:
    return [_meta(tables, args[0])] if args[0] in tables.spaces else []


def _pull_all(tables: Tables, args: Args) -> list[Row]:
    space, above, since, bytes_max = args
    rows = _entries(tables, space, above, tombstones=since != 0)
    return [_cut(row, bytes_max, length=True) for row in rows]


def _pull_page(tables: Tables, args: Args) -> list[Row]:
    space, cursor, since, bytes_max, id, cursor_max, limit = args
    rows = [
        row
        for row in _entries(tables, space, cursor - 1, tombstones=since != 0)
        if row[1] <= cursor_max and (row[1] > cursor or (row[2] is not None and row[2] > id))
    ]
    return [_cut(row, bytes_max, length=True) for row in rows[:limit]]


def _pull_legacy(tables: Tables, args: Args) -> list[Row]:
    space, bytes_max, kind, id, number, limit = args

    def place(row: tuple[Any, ...]) -> tuple[int, UUID, int]:
        return row[0], row[2] or UUID(int=0), row[7] if row[0] == 2 else 0

    rows = [row for row in _entries(tables, space, -1, tombstones=True) if row[1] == 0 and row[0] != 1]
    rows = sorted((row for row in rows if place(row) > (kind, id, number)), key=place)
    return [_cut(row, bytes_max, length=False) for row in rows[:limit]]


def _pull_blobs(tables: Tables, args: Args) -> list[Row]:
    space, ids = args
    found = ((id, tables.records.get(id)) for id in ids)
    return [(id, r.cursor, r.blob) for id, r in found if r is not None and r.space == space]


def _pull_payload(tables: Tables, args: Args) -> list[Row]:
    return [(m.payload,) for m in tables.members.get(args[0], ()) if m.chain_seq == args[1]]


# Spaces with what is read beside them.


def _news_between(tables: Tables, args: Args) -> list[Row]:
    space, above, up_to, limit, bytes_max = args
    if space not in tables.spaces:
        return []
    state = _meta(tables, space)[:3]
    entries: list[Any] = _entries(tables, space, above, tombstones=True)
    rows = [row for row in entries if row[1] <= up_to][:limit]
    total = sum(len(row[3] or b"") + len(row[4] or b"") for row in rows)
    told = [row if total <= bytes_max else (*row[:3], None, *row[4:]) for row in rows]
    return [(*row, *state, total) for row in told] or [(*(None,) * 9, *state, None)]


def _compare_spaces(tables: Tables, args: Args) -> list[Row]:
    return [
        (id, row.cursor, row.home_server, sum(space == id for space, _ in tables.revoked))
        for id, row in tables.spaces.items()
        if id in args[0]
    ]


def _revoked_among(tables: Tables, args: Args) -> list[Row]:
    return [pair for pair in zip(args[0], args[1], strict=True) if pair in tables.revoked]


def _get_spaces(tables: Tables, args: Args) -> list[Row]:
    return [space_row(tables.spaces[id]) for id in dict.fromkeys(args[0]) if id in tables.spaces]


def _read_spaces(tables: Tables, args: Args) -> list[Row]:
    rows: list[Row] = [(*row, None) for row in _get_spaces(tables, args)]
    rows += [
        (space, *(None,) * 8, cid)
        for space, cid in zip(args[1], args[2], strict=True)
        if (space, cid) in tables.revoked
    ]
    return rows


def _tagged_revocations(tables: Tables, args: Args) -> list[Row]:
    spaces, tags, prefix = args
    return [
        (space, tag)
        for space, tag in zip(spaces, tags, strict=True)
        if any(
            where == space and sha256(prefix + cid.encode()).digest().startswith(tag)
            for where, cid in tables.revoked
        )
    ]


def _with_space(
    tables: Tables, space: UUID, cids: Sequence[str], entries: Iterable[Row], width: int
) -> list[Row]:
    row = tables.spaces.get(space)
    revoked = [cid for cid in cids if (space, cid) in tables.revoked]
    head: list[Row] = [] if row is None else [(*space_row(row), revoked, *(None,) * width)]
    return head + [(*(None,) * 10, *entry) for entry in entries]


def _list_members(tables: Tables, args: Args) -> list[Row]:
    space, since, cids = args
    entries = [
        (m.chain_seq, m.cursor, m.prev_hash, m.entry_hash, m.payload)
        for m in tables.members.get(space, ())
        if m.chain_seq > since
    ]
    return _with_space(tables, space, cids, entries, 5)


def _deks(files: bool) -> Query:
    def page(tables: Tables, args: Args) -> list[Row]:
        space, cursor, id, cursor_max, limit, bytes_max, cids = args
        highest = BIGGEST if cursor_max is None else cursor_max
        found = sorted(
            (at, key, dek)
            for key, (dek, at) in tables.deks(files, space).items()
            if dek is not None and (at, key) > (cursor, id) and at <= highest
        )
        taken = found[:limit]
        if files and taken:
            taken += [entry for entry in found[limit:] if entry[0] == taken[-1][0]]
        total, entries = 0, []
        for at, key, dek in taken:
            if total >= bytes_max:
                break
            total += len(dek)
            entries.append((key, dek, at))
        return _with_space(tables, space, cids, entries, 3)

    return page


# Files.


def file_row(tables: Tables, space: UUID, file: UUID) -> Row:
    """Record, size, DEK and cursor; NULLs when there is no such file."""
    row = tables.files.get((space, file))
    return (None,) * 4 if row is None else (row.record, row.size, row.dek, row.cursor)


def _look_at_file(tables: Tables, args: Args) -> list[Row]:
    space, file, cids, record = args
    row, found = tables.spaces.get(space), tables.records.get(record)
    revoked = [cid for cid in cids if (space, cid) in tables.revoked]
    live = found is not None and found.space == space and found.blob is not None
    head = (None,) * 9 if row is None else space_row(row)
    return [(*head, revoked, live, *file_row(tables, space, file))]


def _known_files(tables: Tables, args: Args) -> list[Row]:
    return [pair for pair in zip(args[0], args[1], strict=True) if pair in tables.files]


# Invitations, rates and what is left.


def _described(row: InvitationRow) -> Row:
    return row.id, row.payload, row.created_at, row.expires_at


def _mailbox(tables: Tables, mailbox: str) -> list[InvitationRow]:
    now = tables.time()
    rows = [row for row in tables.invitations.values() if row.mailbox == mailbox and row.expires_at > now]
    return sorted(rows, key=lambda row: (row.created_at, row.id))


def _page(rows: Iterable[InvitationRow], limit: int, bytes_max: int) -> list[Row]:
    total, page = 0, list[Row]()
    for row in rows:
        if len(page) >= limit or total >= bytes_max:
            break
        total += len(row.payload)
        page.append(_described(row))
    return page


def _list_invitations(tables: Tables, args: Args) -> list[Row]:
    mailbox, limit, bytes_max = args
    return _page(_mailbox(tables, mailbox), limit, bytes_max)


def _list_invitations_after(tables: Tables, args: Args) -> list[Row]:
    mailbox, limit, bytes_max, after = args
    last = tables.invitations.get(after)
    if last is None or last.mailbox != mailbox:
        return []
    rows = [r for r in _mailbox(tables, mailbox) if (r.created_at, r.id) > (last.created_at, last.id)]
    return _page(rows, limit, bytes_max)


def _invited_since(tables: Tables, args: Args) -> list[Row]:
    seconds, expires_at, id, limit = args
    now = tables.time()
    rows = [
        (row.id, row.mailbox, row.expires_at, (now - row.created_at).total_seconds())
        for row in tables.invitations.values()
        if row.created_at > now - timedelta(seconds=seconds) and (row.expires_at, row.id) > (expires_at, id)
    ]
    return list(sorted(rows, key=lambda row: (row[2], row[0]))[:limit])


def _get_invitation(tables: Tables, args: Args) -> list[Row]:
    row = tables.invitations.get(args[0])
    if row is None or row.mailbox != args[1] or row.expires_at <= tables.time():
        return []
    return [_described(row)]


def _delete_invitation(tables: Tables, args: Args) -> list[Row]:
    row = tables.invitations.get(args[0])
    if row is None or row.mailbox != args[1]:
        return []
    del tables.invitations[row.id]
    return [(row.id,)]


def _purge_invitations(tables: Tables, args: Args) -> list[Row]:
    now = tables.time()
    expired = [id for id, row in tables.invitations.items() if row.expires_at < now][: args[0]]
    for id in expired:
        del tables.invitations[id]
    return [(1,)] * len(expired)


def _forget_slots(tables: Tables, args: Args) -> list[Row]:
    action, actor, before = args
    of = (action, actor)
    over = [
        place
        for place, row in tables.rates.items()
        if (row.action, row.actor) == of and row.created_at < before
    ]
    for place in over:
        del tables.rates[place]
    return [(1,)] * len(over)


def _purge_rates(tables: Tables, args: Args) -> list[Row]:
    oldest = tables.time() - timedelta(seconds=args[2])
    over = [
        place
        for place, row in tables.rates.items()
        if row.created_at < oldest and row.action != "less-sync:turn"
    ][: args[0]]
    for place in over:
        del tables.rates[place]
    return [(1,)] * len(over)


def _called(method: Callable[..., Row], count: int) -> Query:
    """A function that takes so many arguments, then the caller's three."""

    def call(tables: Tables, args: Args) -> list[Row]:
        client, cids, local_only = args[count:]
        return [method(tables, *args[:count], Caller(client, cids, local_only=local_only))]

    return call


MODELLED: Final[dict[str, Query]] = {
    "push": _push,
    "push_change": _push_change,
    "push_many": _push_many,
    "push_changes": _push_changes,
    "push_packed": _push_packed,
    "push_batch": _push_batch,
    "pull_first": _pull_first,
    "pull_meta": _pull_meta,
    "pull_all": _pull_all,
    "pull_page": _pull_page,
    "pull_legacy": _pull_legacy,
    "pull_blobs": _pull_blobs,
    "pull_payload": _pull_payload,
    "compare_spaces": _compare_spaces,
    "news_between": _news_between,
    "revoked_among": _revoked_among,
    "invited_since": _invited_since,
    "ping": lambda tables, args: [(1,)],
    "get_spaces": _get_spaces,
    "read_spaces": _read_spaces,
    "create_space": lambda tables, args: tables.create_space(*args),
    "get_or_create_space": lambda tables, args: tables.get_or_create(*args),
    "append_member": _called(Tables.append, 5),
    "list_members": _list_members,
    "revoke": _called(Tables.revoke, 2),
    "tagged_revocations": _tagged_revocations,
    "advance_epoch": _called(Tables.advance, 3),
    "complete_rewrap": _called(Tables.complete, 2),
    "record_deks": _deks(False),
    "file_deks": _deks(True),
    "rewrap": _called(Tables.rewrap, 5),
    "look_at_file": _look_at_file,
    "known_files": _known_files,
    "still_there": lambda tables, args: [(1,)],
    "create_invitation": lambda tables, args: [tables.invite(*args)],
    "list_invitations": _list_invitations,
    "list_invitations_after": _list_invitations_after,
    "get_invitation": _get_invitation,
    "delete_invitation": _delete_invitation,
    "purge_invitations": _purge_invitations,
    "take_rate": lambda tables, args: [tables.take_rate(*args)],
    "undo_rate": lambda tables, args: tables.undo_rate(*args),
    "forget_slots": _forget_slots,
    "purge_rates": _purge_rates,
}
