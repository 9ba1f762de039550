"""What a manifest lets pass, as a digest, and whether that is more than its built-in one does. Pure.

The digest is over what decides and not over where it looks: the same policy has one digest everywhere
(docs/validation.md 4.3). Loosening is possible, but leaves bytes that somebody has to accept by their digest.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from less_sync.validation.canonical import compact
from less_sync.validation.manifest import Declared
from less_sync.validation.matrix import Check
from less_sync.validation.procedure import Looser, Value

Changed = Callable[[bool, str, str, object, object], None]
"""Told of a difference: whether it is looser, the check, the key, and both values."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference from the built-in manifest."""

    check_id: str
    """Empty: it concerns all."""
    key: str
    builtin: object
    here: object


def digest(declared: Declared) -> str:
    """SHA-256, in hex, of the canonical JSON of features, lifetime, lanes, targets and rows."""
    document = declared.raw
    body = {
        "features": document.get("features", {}),
        "lanes": document.get("lanes", []),
        "valid_for_s": document["valid_for_s"],
        "targets": {name: _of_target(table) for name, table in document.get("targets", {}).items()},
        "checks": [decides(check) for check in declared.checks],
    }
    return hashlib.sha256(compact(body)).hexdigest()


def _of_target(table: Mapping[str, Any]) -> dict[str, bool]:
    """What of a target decides which of its rows there are, and not where it is; true is the looser side."""
    return {
        "optional": bool(table.get("optional")),
        "scratch": bool(table.get("scratch")),
        "writable": table.get("writes", "none") != "none",
        "existing": table.get("server", "less-sync") != "less-sync",
    }


def decides(check: Check) -> dict[str, Any]:
    """All keys of a row but its description, defaults filled in."""
    retry = check.retry
    return {
        "id": check.id,
        "lane": check.lane,
        "uses": check.procedure.name,
        "target": check.target,
        "required": check.required,
        "stages": sorted(check.stages),
        "kinds": sorted(check.kinds),
        "needs": list(check.needs),
        "feature": check.feature,
        "timeout_s": check.timeout_s,
        "retry": None
        if retry is None
        else {"times": retry.times, "on": sorted(retry.on), "pause_s": retry.pause_s},
        "exclusive": list(check.exclusive),
        "with": {name: _plain(value) for name, value in check.parameters.items()},
    }


def _plain(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value


def compare(builtin: Declared, here: Declared) -> tuple[list[Change], list[Change]]:
    """What is looser and what is tighter here, in the order of the built-in rows."""
    looser: list[Change] = []
    tighter: list[Change] = []

    def changed(is_looser: bool, check_id: str, key: str, before: object, now: object) -> None:
        (looser if is_looser else tighter).append(Change(check_id, key, before, now))

    before_s, now_s = builtin.raw["valid_for_s"], here.raw["valid_for_s"]
    if before_s != now_s:
        changed(now_s > before_s, "", "valid_for_s", before_s, now_s)
    _sets(changed, "", "lanes", builtin.raw.get("lanes", []), here.raw.get("lanes", []))
    targets = here.raw.get("targets", {})
    for name, table in builtin.raw.get("targets", {}).items():
        now_is = _of_target(targets[name]) if name in targets else {}  # else its rows are removed ones
        for key, was in _of_target(table).items():
            if now_is.get(key, was) != was:
                changed(now_is[key], "", f"targets.{name}.{key}", was, now_is[key])
    rows = {check.id: check for check in here.checks}
    for check in builtin.checks:
        mine = rows.pop(check.id, None)
        if mine is not None:
            _row(check, mine, changed)
        elif check.required:
            changed(True, check.id, "row", "required", "removed")
    for check_id, check in rows.items():
        if check.required:
            changed(False, check_id, "row", "none", "required")
    return looser, tighter


def _row(builtin: Check, here: Check, changed: Changed) -> None:
    if builtin.required != here.required:
        changed(builtin.required, here.id, "required", builtin.required, here.required)
    for key in ("target", "lane"):
        before, now = getattr(builtin, key), getattr(here, key)
        if before != now:
            changed(True, here.id, key, before, now)
    if builtin.procedure.name != here.procedure.name:
        changed(True, here.id, "uses", builtin.procedure.name, here.procedure.name)
        return
    # An empty list of stages or kinds means all of them.
    _sets(
        changed, here.id, "stages", builtin.stages or ("before", "after"), here.stages or ("before", "after")
    )
    if builtin.feature != here.feature:
        changed(bool(here.feature), here.id, "feature", builtin.feature, here.feature)
    if builtin.timeout_s != here.timeout_s:
        changed(here.timeout_s > builtin.timeout_s, here.id, "timeout_s", builtin.timeout_s, here.timeout_s)
    _retries(builtin, here, changed)
    for name, parameter in here.procedure.parameters.items():
        before, now = builtin.parameters[name], here.parameters[name]
        if before != now and parameter.looser is not Looser.NEVER:
            changed(
                is_looser(parameter.looser, before, now), here.id, f"with.{name}", _plain(before), _plain(now)
            )


def is_looser(direction: Looser, before: Value, now: Value) -> bool:
    """Whether a parameter that is `now` lets more pass than it did before."""
    match direction:
        case Looser.UP:
            assert isinstance(before, int)
            assert isinstance(now, int)
            return now > before
        case Looser.DOWN:
            assert isinstance(before, int)
            assert isinstance(now, int)
            return now < before
        case Looser.ANY:
            return now != before
        case Looser.NEVER:
            return False


def _retries(builtin: Check, here: Check, changed: Changed) -> None:
    before, now = builtin.retry, here.retry
    if before == now:
        return
    told = [None if one is None else f"{one.times} on {', '.join(sorted(one.on))}" for one in (before, now)]
    more = now is not None and (
        before is None or now.times > before.times or not set(now.on) <= set(before.on)
    )
    changed(more, here.id, "retry", told[0], told[1])


def _sets(changed: Changed, check_id: str, key: str, before: Sequence[str], now: Sequence[str]) -> None:
    """Leaving something out is looser, whatever else comes in."""
    if set(before) != set(now):
        changed(not set(before) <= set(now), check_id, key, sorted(before), sorted(now))
