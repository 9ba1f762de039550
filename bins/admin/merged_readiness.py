"""Whether a server of several workers should be sent clients (docs/operations.md 12.5).

The system spreads connections over all workers, whatever state each is in. So the server is ready when all
of its numbers are: for each there is a worker that is. Two have one number for a moment when the second is
about to take the place of the first.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from less_sync.bins.admin.asking import Answer
from less_sync.bins.admin.readiness import Report, Status
from less_sync.bins.workers.places import WorkerPlace

_DELIVERY: Final = ("late", "unknown", "ok")
"""The worst first."""
_WORST_FIRST: Final = tuple(Status)


class OfNumber(NamedTuple):
    """The best that a worker of one number says of itself."""

    number: int
    status: Status
    reason: str


def merged_report(
    wanted: int, living: Sequence[WorkerPlace], answers: Mapping[WorkerPlace, Answer]
) -> Report:
    """What `/readyz` says of all workers together.

    Args:
        wanted: how many workers there should be, numbered from 1.
        answers: theirs to `/readyz`.
    """
    bodies = {place: own for place, answer in answers.items() if (own := _body(answer)) is not None}
    found = [_best(number, living, bodies) for number in range(1, wanted + 1)]
    status, reason = _merged_status(found)
    told = list(bodies.values())
    body: dict[str, Any] = {
        "status": status.value,
        "database": _database(told),
        "delivery": _delivery(told),
        "draining": bool(told) and all(one["draining"] for one in told),
        "sessions": sum(one["sessions"] for one in told),
        "workers": [
            {"worker": one.number, "status": one.status.value}
            | ({"reason": one.reason} if one.reason else {})
            for one in found
        ],
    }
    if (bus := _bus(told)) is not None:
        body["bus"] = bus
    if told and told[0]["node"] is not None:
        body["node"] = told[0]["node"]
    if reason:
        body["reason"] = reason
    return Report(status, reason, body)


def _body(answer: Answer) -> dict[str, Any] | None:
    try:
        body = json.loads(answer.body)
        Status(body["status"])
        # All that is used of it, so that one answer that is none cannot hide the others.
        return {
            "status": body["status"],
            "reason": str(body.get("reason", "")),
            "database": str(body["database"]),
            "delivery": {
                "status": str(body["delivery"]["status"]),
                "lag_s": body["delivery"]["lag_s"],
                "age_s": body["delivery"]["age_s"],
            },
            "draining": bool(body["draining"]),
            "sessions": int(body["sessions"]),
            "bus": body.get("bus"),
            "node": body.get("node"),
        }
    except (ValueError, KeyError, TypeError):
        return None


def _best(
    number: int, living: Sequence[WorkerPlace], bodies: Mapping[WorkerPlace, Mapping[str, Any]]
) -> OfNumber:
    own = [place for place in living if place.number == number]
    if not own:
        return OfNumber(number, Status.STARTING, "it is being started")
    told = [
        OfNumber(number, Status(bodies[place]["status"]), bodies[place]["reason"])
        for place in own
        if place in bodies
    ]
    if not told:
        return OfNumber(number, Status.UNAVAILABLE, "it does not answer")
    return max(told, key=lambda one: _WORST_FIRST.index(one.status))


def _merged_status(found: Sequence[OfNumber]) -> tuple[Status, str]:
    """The word for all. What some cannot do is a degraded server, whatever keeps each of them."""
    failing = [one for one in found if one.status is not Status.READY]
    if not failing:
        return Status.READY, ""
    worst = min(failing, key=lambda one: _WORST_FIRST.index(one.status))
    if len(failing) == len(found):
        reasons = {one.reason for one in failing}
        return worst.status, worst.reason if len(reasons) == 1 else f"worker {worst.number}: {worst.reason}"
    return Status.DEGRADED, f"worker {worst.number}: {worst.reason}"


def _database(told: Sequence[Mapping[str, Any]]) -> str:
    return "ok" if told and all(one["database"] == "ok" for one in told) else "unavailable"


def _delivery(told: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    states = {one["delivery"]["status"] for one in told} or {"unknown"}
    return {
        "status": next((state for state in _DELIVERY if state in states), "unknown"),
        "lag_s": _most(told, "lag_s"),
        "age_s": _most(told, "age_s"),
    }


def _most(told: Sequence[Mapping[str, Any]], part: str) -> float | None:
    known = [one["delivery"][part] for one in told if isinstance(one["delivery"][part], int | float)]
    return max(known, default=None)


def _bus(told: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Connected when all are; None where there is no bus."""
    parts = [one["bus"] for one in told if isinstance(one["bus"], dict)]
    if not parts:
        return None
    return {**parts[0], "connected": all(part.get("connected") for part in parts)}
