"""Lane `contract` on staging: each check passes on real servers, and turns red for its fault."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

import cbor2
import pytest

from less_sync.validation.context import Context
from less_sync.validation.generated import Stream
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.procedure import Value
from less_sync.validation.sentinel import plant
from tests.federation.proxy import Way
from tests.validation.neighbours import SERVICE, Neighbour, nothing_done, red, under
from tests.validation.proxy import Asked, FaultProxy, Frame, Reply
from tests.validation.rig import Rig, check_of, procedure_named
from tests.validation.rules import (
    NEWEST_SPACE_SQL,
    at_once,
    author_included,
    both,
    changed,
    event_to_author,
    flipped,
    lost,
    with_field,
    withheld,
)

UP, DOWN = Way.UP, Way.DOWN
QUICK: Final[Mapping[str, Mapping[str, Value]]] = {
    "every-answer": {"requests": 60, "deadline_ms": 1000},
    "notify": {"pushes": 20, "deadline_ms": 700},
    "presence": {"leave_ms": 500},
    "reconnect": {"pushes": 20},
}
"""Parameters with which the fault of a check takes less than a second to be seen."""


PLANTED: Final = b"planted for good"
"""The run whose owner has the sentinel in the personal space, for the length of the session."""
LANE: Final = (
    Neighbour("round-trip"),
    Neighbour("files"),
    Neighbour("every-answer", {"requests": 8, "deadline_ms": 10_000}),
    Neighbour("conflict", then="cleanup"),
    *(Neighbour(name) for name in ("tombstone", "event", "epoch", "membership", "both-names", "invitation")),
    Neighbour("reconnect", {"pushes": 8}),
    Neighbour("notify", {"pushes": 8, "deadline_ms": 5_000}),
    Neighbour("presence", {"leave_ms": 5_000}),
    Neighbour("socket-idle", {"idle_s": 1, "keepalives": 0}),
    Neighbour("read-only", target="candidate"),
    Neighbour("sentinel", target="candidate", run={"run_id": PLANTED, "production_space_exists": True}),
)
"""The others of the lane, with the smallest parameters that still look, and time enough beside each other.

Without `drain`, at which the server is stopped."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to the proxy, and what becomes of one check."""

    procedure: str
    reason: str
    make: Callable[[FaultProxy], object]
    parameters: Mapping[str, Value] = field(default_factory=dict)
    also: Mapping[str, str] = field(default_factory=dict)
    """The reasons of others of the lane that look at the same answer. Whoever is not named stays green."""


def _conflicts_accepted(result: Any) -> Any:
    return result if result.get("ok") else {"ok": True, "cursor": 9}


def _has(blob: bytes, params: Mapping[str, Any]) -> bool:
    """Whether a push has a change with this content."""
    changes = params.get("changes", ())
    return any(isinstance(one, dict) and one.get("blob") == blob for one in changes)


def _stored_all_the_same(proxy: FaultProxy) -> None:
    """Have the stale push written, and answered as if it were not."""
    written: list[bytes] = []

    def rule(frame: Frame) -> Sequence[bytes] | None:
        if frame.name == "push" and _has(b"stale", frame.seen.value["params"]):
            value = dict(frame.seen.value)
            for one in value["params"]["changes"]:
                one["expected_cursor"] = 3
            written.append(value["id"])
            return (cbor2.dumps(value),)
        if frame.name == "push:result" and frame.seen.value["id"] in written:
            return (cbor2.dumps({**frame.seen.value, "result": {"ok": False, "error": "conflict"}}),)
        return None

    proxy.frames.append(rule)


def _resurrected(params: Any) -> Any:
    for one in params["changes"] if _has(b"back", params) else ():
        one["expected_cursor"] += 1
    return params


def _with_tombstones(params: Any) -> Any:
    """What a server is asked that tells of deletions to those who have nothing yet."""
    if not isinstance(params["spaces"], list):
        return params
    return {"spaces": [one | {"since": one["since"] or -1} for one in params["spaces"]]}


def _deletes(params: Mapping[str, Any]) -> bool:
    return any(one.get("deleted") for one in params["records"])


def _large(data: Mapping[str, Any]) -> bool:
    """A record of a mebibyte, and one with a DEK."""
    return len(data.get("blob") or b"") == 1024 * 1024 and bool(data.get("dek"))


def _one_fewer(params: Any) -> Any:
    return params | {"deks": params["deks"][1:]}


def _peers_kept_silent(result: Any) -> Any:
    return result | {
        "spaces": [
            {name: one for name, one in space.items() if name != "peers"} for space in result["spaces"]
        ]
    }


def _replies(change: Callable[[Asked, Reply], Reply | None]) -> Callable[[FaultProxy], None]:
    return lambda proxy: proxy.replies.append(
        lambda asked, reply: change(asked, reply) if "/files/" in asked.path else None
    )


def _file_survives(proxy: FaultProxy) -> None:
    stored: set[str] = set()

    def rule(asked: Asked, reply: Reply) -> Reply | None:
        if asked.method == "PUT":
            stored.add(asked.path)
        return Reply(200) if reply.status == 404 and asked.path in stored else None

    proxy.replies.append(rule)


def _name_refused(proxy: FaultProxy) -> None:
    proxy.asks.append(
        lambda asked: Reply(400) if asked.header("sec-websocket-protocol") == "less-rpc-v1" else None
    )


def _first_preferred(proxy: FaultProxy) -> None:
    proxy.replies.append(
        lambda asked, reply: (
            reply.with_header("Sec-WebSocket-Protocol", "less-rpc-v1")
            if "," in asked.header("sec-websocket-protocol")
            else None
        )
    )


FAULTS: Final[Mapping[str, Fault]] = {
    # Records.
    # What was planted is compared as well.
    "a bit of a large blob flipped": Fault(
        "round-trip",
        "bytes",
        changed(DOWN, "pull.record", flipped("blob"), when=_large),
        also={"sentinel": "bytes"},
    ),
    "a DEK of a large record flipped": Fault(
        "round-trip",
        "dek",
        changed(DOWN, "pull.record", flipped("dek"), when=_large),
        also={"sentinel": "dek"},
    ),
    "a record lost in a pull": Fault(
        "round-trip", "missing", lambda proxy: proxy.lose(DOWN, "pull.record", every=300)
    ),
    "a record pulled twice": Fault(
        "round-trip", "twice", lambda proxy: proxy.double(DOWN, "pull.record", at=100)
    ),
    "two records swapped": Fault(
        "round-trip", "order", lambda proxy: proxy.swap(DOWN, "pull.record", at=100)
    ),
    "a cursor skipped": Fault(
        "round-trip",
        "cursor",
        changed(DOWN, "push:result", with_field(ok=True, cursor=9), at=2),
        # Whoever pushes twice compares the cursor that was answered with what is pulled or announced.
        also={
            "conflict": "cursor",
            "reconnect": "cursor",
            "notify": "missing",
            "tombstone": "shape",
            "files": "shape",
        },
    ),
    # Another check compares pulls of more or fewer than one record.
    "a wrong count": Fault(
        "round-trip",
        "count",
        changed(DOWN, "pull.commit", with_field(count=1)),
        also={"conflict": "count", "sentinel": "count"},
    ),
    "a space left out of a pull": Fault(
        "round-trip",
        "left-out",
        both(
            *(lost(DOWN, f"pull.{name}") for name in ("begin", "record", "file", "membership", "commit")),
            changed(DOWN, "pull:result", lambda _: {"_chunks": 0}),
        ),
        # Nobody can pull anything, and who cleans up cannot see what is left.
        also=dict.fromkeys(
            ("conflict", "tombstone", "reconnect", "files", "epoch", "membership", "sentinel"), "left-out"
        )
        | {"cleanup": "live:space"},
    ),
    **{
        f"an answer to {method} withheld": Fault(
            "every-answer", f"unanswered:{method}", withheld(method, at=at)
        )
        for method, at in (("pull", 40), ("deks.get", 39), ("push", 38), ("subscribe", 37))
    },
    "another error": Fault(
        "every-answer", "answer:deks.get", changed(DOWN, "deks.get:error", with_field(code="internal"), at=5)
    ),
    "conflicts answered with ok": Fault(
        "conflict",
        "answer:stale",
        changed(DOWN, "push:result", _conflicts_accepted),
        # Each of them has a push that is to be refused.
        also={"every-answer": "answer:push", "tombstone": "resurrected"},
    ),
    "a conflict stored all the same": Fault("conflict", "cursor", _stored_all_the_same),
    # Some were planted.
    "a tombstone left out of an incremental pull": Fault(
        "tombstone",
        "not-pulled",
        lost(DOWN, "pull.record", lambda data: bool(data.get("deleted"))),
        also={"sentinel": "missing"},
    ),
    "tombstones in a full pull": Fault(
        "tombstone",
        "in-full-pull",
        both(
            changed(UP, "pull", _with_tombstones),
            *(
                changed(DOWN, f"pull.{name}", with_field(prev=0), when=lambda data: data["prev"] < 0)
                for name in ("begin", "commit")
            ),
        ),
    ),
    "a deletion not announced": Fault("tombstone", "not-announced", lost(DOWN, "sync", _deletes)),
    "a deletion undone": Fault("tombstone", "resurrected", changed(UP, "push", _resurrected)),
    # What is told at once.
    "every 7th notification dropped": Fault(
        "notify", "missing", lambda proxy: proxy.lose(DOWN, "sync", every=7)
    ),
    "two notifications swapped": Fault("notify", "order", lambda proxy: proxy.swap(DOWN, "sync", at=5)),
    "one notification doubled": Fault("notify", "twice", lambda proxy: proxy.double(DOWN, "sync", at=20)),
    "the author notified too": Fault("notify", "author", author_included),
    "notifications late": Fault(
        "notify",
        "late",
        lambda proxy: setattr(proxy, "frame_delay_s", lambda frame: 0.4 if frame.name == "sync" else 0.0),
        {"pushes": 3, "deadline_ms": 300},
    ),
    "a notification of another shape": Fault(
        "notify", "shape", changed(DOWN, "sync", with_field(more=1), at=3)
    ),
    "presence leave swallowed": Fault("presence", "leave", lambda proxy: proxy.lose(DOWN, "presence.leave")),
    "presence not told": Fault("presence", "not-seen", lambda proxy: proxy.lose(DOWN, "presence")),
    "presence not listed": Fault(
        "presence", "not-listed", changed(DOWN, "subscribe:result", _peers_kept_silent)
    ),
    "too much presence taken": Fault(
        "presence",
        "oversize-seen",
        changed(UP, "presence.set", lambda one: one | {"data": one["data"][-1024:]}),
    ),
    "events to their author": Fault("event", "author", event_to_author),
    "events lost": Fault("event", "not-seen", lambda proxy: proxy.lose(DOWN, "event")),
    "events doubled": Fault("event", "twice", lambda proxy: proxy.double(DOWN, "event")),
    "too large an event taken": Fault(
        "event", "oversize-seen", changed(UP, "event.send", lambda one: one | {"data": one["data"][-4096:]})
    ),
    # Files.
    "bodies of more than 1 MiB refused": Fault(
        "files", "proxy-limit", lambda proxy: setattr(proxy, "body_bytes_max", 1024 * 1024)
    ),
    # The file that was planted is read as well.
    "a DEK header changed": Fault(
        "files",
        "dek",
        lambda proxy: proxy.set_header("X-Wrapped-DEK", "AAAA", status=200),
        also={"sentinel": "dek"},
    ),
    "a byte of a file changed": Fault(
        "files",
        "bytes",
        _replies(
            lambda asked, reply: (
                reply.with_body(b"?" + reply.body[1:])
                if asked.method == "GET" and reply.status == 200
                else None
            )
        ),
        also={"sentinel": "bytes"},
    ),
    "a file stored twice": Fault(
        "files", "put:201", _replies(lambda asked, reply: Reply(201) if asked.method == "PUT" else None)
    ),
    "a file not announced": Fault("files", "not-announced", lambda proxy: proxy.lose(DOWN, "file")),
    "a file shown to others": Fault(
        "files",
        "other:200",
        _replies(
            lambda asked, reply: Reply(200) if reply.status == 401 and asked.header("authorization") else None
        ),
    ),
    "a file that survives its record": Fault("files", "deleted:200", _file_survives),
    # Sharing.
    "a rewrap lost": Fault("epoch", "dek-lost", changed(UP, "deks.rewrap", _one_fewer)),
    "an epoch begun twice": Fault(
        "epoch", "conflict", changed(DOWN, "epoch.begin:result", lambda _: {"epoch": 2})
    ),
    "a completion twice": Fault(
        "epoch",
        "complete",
        lambda proxy: proxy.alter(
            DOWN, "epoch.complete:error", lambda frame: {"type": 1, "id": frame["id"], "result": {}}
        ),
    ),
    # A chain was planted.
    "an entry's hash altered": Fault(
        "membership",
        "hash",
        changed(DOWN, "membership.list:result", flipped("entries", "1", "entry_hash")),
        also={"sentinel": "hash"},
    ),
    "a broken chain accepted": Fault(
        "membership",
        "broken-chain",
        lambda proxy: proxy.alter(
            DOWN,
            "membership.append:error",
            lambda frame: {"type": 1, "id": frame["id"], "result": {"chain_seq": 4, "metadata_version": 4}},
        ),
    ),
    "an entry not announced": Fault(
        "membership", "not-announced", lambda proxy: proxy.lose(DOWN, "membership")
    ),
    "an entry missing in a pull": Fault(
        "membership",
        "pulled",
        lambda proxy: proxy.lose(DOWN, "pull.membership", every=2),
        also={"sentinel": "count"},
    ),
    # Sockets.
    "a name of the protocol refused": Fault("both-names", "refused:less-rpc-v1", _name_refused),
    "the other name preferred": Fault(
        "both-names", "refused:less-rpc-v1:betterbase-rpc-v1", _first_preferred
    ),
}
FAULTED: Final = frozenset(one.procedure for one in FAULTS.values()) | {"reconnect"}


@pytest.fixture(scope="module")
async def sentinel_planted(session_rig: Rig) -> None:
    """On staging's server, which candidate's address leads to as well."""
    run = session_rig.run(run_id=PLANTED)
    check = check_of(procedure_named("sentinel"), "staging")
    assert (await plant(Context(check, run, Stream(run.id, check.id)))).written


@pytest.mark.usefixtures("sentinel_planted")
@pytest.mark.parametrize("name", FAULTS)
async def test_the_check_turns_red_for_its_fault_and_no_other(rig: Rig, name: str) -> None:
    fault = FAULTS[name]
    fault.make(rig.proxy())
    row = await rig.row(fault.procedure, parameters=_parameters(fault.procedure, fault.parameters))
    assert row.outcome == Outcome(Status.FAILED, fault.reason), row.lines
    others = await under(
        fault.make, rig, (*(one for one in LANE if one.procedure != fault.procedure), *SERVICE)
    )
    seen = red(others)
    assert seen == {other: Outcome(Status.FAILED, reason) for other, reason in fault.also.items()}, [
        (row.check.id, row.lines) for row in others if row.check.procedure.name in seen
    ]


@pytest.mark.parametrize("procedure", sorted(FAULTED))
async def test_without_a_fault_it_passes(rig: Rig, procedure: str) -> None:
    """With the same parameters, so that nothing but the fault had turned it red."""
    row = await rig.row(procedure, parameters=_parameters(procedure, {}))
    assert row.outcome == PASSED, row.lines
    assert row.evidence
    assert rig.proxy("production").asked == []


def _parameters(procedure: str, others: Mapping[str, Value]) -> dict[str, Value]:
    return {**QUICK.get(procedure, {}), **others}


async def test_an_acknowledged_push_that_is_gone(rig: Rig) -> None:
    """Removed in the database between the cut and the pull."""
    upgrades = count(1)

    async def remove() -> None:
        await rig.server().sql(f"DELETE FROM records WHERE cursor = 5 AND space_id = {NEWEST_SPACE_SQL}")

    def rule(asked: Asked) -> None:
        if asked.upgrade and next(upgrades) == 2:
            at_once(remove)

    rig.proxy().asks.append(rule)
    row = await rig.row("reconnect", parameters=QUICK["reconnect"])
    assert row.outcome == Outcome(Status.FAILED, "lost"), row.lines
    others = (one for one in LANE if one.procedure not in ("reconnect", "sentinel"))
    assert red(await under(nothing_done, rig, (*others, *SERVICE))) == {}
