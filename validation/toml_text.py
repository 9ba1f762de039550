"""A resolved manifest as TOML again: what `validate manifest` prints, and what a report keeps. Pure."""

from typing import Any, Final

import tomli_w

from less_sync.validation.manifest import Declared
from less_sync.validation.matrix import NO_TARGET, Check

_ORDER: Final = ("format", "kind", "name", "title", "valid_for_s", "lanes")


def manifest_text(declared: Declared) -> str:
    """The whole of it: extended, overridden, its rows in order with what differs from the defaults.

    Secrets are the references that they were. It reads as the same policy (`policy.digest`).
    """
    document = declared.raw
    whole: dict[str, Any] = {name: document[name] for name in _ORDER if name in document}
    whole |= {name: value for name, value in document.items() if name not in whole and name != "checks"}
    whole["checks"] = [_row(check) for check in declared.checks]
    return tomli_w.dumps(whole)


def _row(check: Check) -> dict[str, Any]:
    procedure = check.procedure
    row: dict[str, Any] = {"id": check.id, "uses": procedure.name}
    if check.lane != procedure.lane:
        row["lane"] = check.lane
    if check.target != NO_TARGET:
        row["target"] = check.target
    if not check.required:
        row["required"] = False
    for name in ("stages", "kinds", "needs"):
        if getattr(check, name):
            row[name] = list(getattr(check, name))
    for name in ("feature", "timeout_s", "description"):
        if getattr(check, name) != getattr(procedure, name):
            row[name] = getattr(check, name)
    if check.exclusive != tuple(procedure.exclusive):
        row["exclusive"] = list(check.exclusive)
    if check.retry is not None:
        row["retry"] = {
            "times": check.retry.times,
            "on": list(check.retry.on),
            "pause_s": check.retry.pause_s,
        }
    changed = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in check.parameters.items()
        if value != procedure.parameters[name].default
    }
    return row | ({"with": changed} if changed else {})
