"""A check of the operator's own: a command, judged by status and output (docs/validation.md 6.7)."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final

from less_sync.validation.canonical import parsed
from less_sync.validation.context import Context
from less_sync.validation.hooks import OUTPUT_BYTES_MAX, hook
from less_sync.validation.manifest import is_secret
from less_sync.validation.outcome import Blocked, Broken, slug
from less_sync.validation.procedure import CUSTOM, Looser, Parameter, Procedure, Same

NOTHING: Final = object()
"""What a pointer leads to where there is nothing."""


async def command(context: Context) -> None:
    """Run `argv` and compare what was asked for. A command that prints nothing has not answered."""
    argv = context.check.parameters["argv"]
    wanted_json = context.check.parameters["json"]
    digest = context.text("stdout_sha256")
    assert isinstance(argv, tuple)
    assert isinstance(wanted_json, tuple)
    if not argv:
        raise Broken("no-argv")
    ran = await hook(
        context,
        argv,
        more=_variables(context),
        timeout_s=float(context.check.timeout_s),
        output_bytes_max=OUTPUT_BYTES_MAX,
    )
    context.say(f"{argv[0]} ended with status {ran.status}, {len(ran.output)} bytes of output")
    measured = context.measured
    measured.same("answer", context.number("exit"), ran.status, slug("exit", ran.status % 256))
    if digest or wanted_json:
        measured.same("answer", True, bool(ran.output), "no-output")
    if digest:
        measured.same("answer", digest.lower(), hashlib.sha256(ran.output).hexdigest(), "stdout")
    if wanted_json:
        document = _parsed(ran.output)
        for pointer, value in pairs(wanted_json):
            reason = "not-json" if document is NOTHING else slug("json", pointer)
            measured.same("answer", _text(value), _text(at(document, pointer)), reason)


def _variables(context: Context) -> dict[str, str]:
    """The variables that the row names, as the operator has them."""
    names = context.check.parameters["variables"]
    assert isinstance(names, tuple)
    environment = context.run.inputs.environment
    for name in names:
        if name not in environment:
            raise Blocked("input", name)
        if is_secret(name):
            context.run.redactor.add(name, environment[name])
    return {name: environment[name] for name in names}


def _text(value: Any) -> str | None:
    """A JSON value as text, because 1, 1.0 and true are equal in Python; None for nothing."""
    return None if value is NOTHING else json.dumps(value, sort_keys=True)


def _parsed(output: bytes) -> Any:
    try:
        return parsed(output)
    except ValueError:
        return NOTHING


def pairs(texts: Sequence[str]) -> list[tuple[str, Any]]:
    """`POINTER=JSON` texts, as pairs. Raises Broken `json-wanted` for one that is none."""
    found = []
    for text in texts:
        pointer, mark, value = text.partition("=")
        try:
            found.append((pointer, parsed(value)))
        except ValueError:
            mark = ""
        if not mark or (pointer and not pointer.startswith("/")):
            raise Broken("json-wanted")
    return found


def at(document: Any, pointer: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to; `NOTHING` where there is nothing."""
    place = document
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, dict) and key in place:
            place = place[key]
        elif isinstance(place, list) and key.isdecimal() and len(key) < 10 and int(key) < len(place):
            place = place[int(key)]
        else:
            return NOTHING
    return place


PROCEDURES: Final = (
    Procedure(
        "command",
        CUSTOM,
        command,
        "a command of the operator's answers as it should",
        (Same("answer"),),
        parameters={
            "argv": Parameter((), Looser.ANY),
            "exit": Parameter(0, Looser.ANY),
            "stdout_sha256": Parameter("", Looser.ANY),
            "json": Parameter((), Looser.ANY),
            "variables": Parameter((), Looser.NEVER),
        },
        timeout_s=60,
        writes=True,
    ),
)
