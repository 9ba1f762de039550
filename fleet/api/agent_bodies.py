"""What agents send: registrations and heartbeats.

Members that nobody knows are left out, as agents may be newer.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from less_sync.fleet.api.body import INTEGER_MAX, Fields, integer, wrong
from less_sync.fleet.api.call import Call
from less_sync.fleet.errors import FieldProblem
from less_sync.fleet.reports import REPORT, UPTIME, Kind
from less_sync.fleet.store.heartbeats import Heartbeat

SYSTEMS: Final = ("linux", "darwin", "windows")
ARCHITECTURES: Final = ("amd64", "arm64")
KINDS: Final = ("sync", "volume")
URL_CHARACTERS_MAX: Final = 2048
TEXT_CHARACTERS_MAX: Final = 64
FEATURES_MAX: Final = 64
SLUGS_MAX: Final = 1000
REGION: Final = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True, slots=True)
class Registration:
    """What a server says of itself; `labels` is None when it says nothing of labels."""

    instance_id: UUID
    name: str
    kind: str
    hostname: str | None
    public_url: str | None
    os: str
    arch: str
    version: str
    region: str | None
    labels: dict[str, str] | None


def read_registration(call: Call) -> Registration:
    """The body of a registration.

    Raises:
        Refused: 400 with all problems.
    """
    fields = call.fields(strict=False)
    read = Registration(
        instance_id=fields.uuid("instance_id"),
        name=fields.text("name", at_most=128),
        kind=fields.choice("kind", KINDS, default="sync"),
        hostname=fields.optional_text("hostname", at_most=253),
        public_url=fields.custom("public_url", _url),
        os=fields.choice("os", SYSTEMS),
        arch=fields.choice("arch", ARCHITECTURES),
        version=fields.version("version"),
        region=fields.matching("region", REGION, "must have 1 to 64 of a-z, 0-9, -"),
        labels=fields.labels("labels") if fields.has("labels") else None,
    )
    fields.finish()
    return read


def read_heartbeat(call: Call) -> Heartbeat:
    """The body of a heartbeat.

    Raises:
        Refused: 400 with all problems.
    """
    fields = call.fields(strict=False)
    sequence = fields.integer("sequence", 1, INTEGER_MAX)
    boot_id, version = fields.uuid("boot_id"), fields.version("version")
    uptime_s = fields.integer("uptime_seconds", 0, INTEGER_MAX)
    sent_at = fields.time("sent_at")
    revision = fields.optional_integer("config_revision", 0, INTEGER_MAX)
    fields.optional_integer("license_serial", 0, INTEGER_MAX)
    fields.custom("issuer_keys", _issuer_keys)
    report = _report(fields)
    fields.finish()
    return Heartbeat(sequence, boot_id, version, sent_at, revision, report | {UPTIME: uptime_s})


def _report(fields: Fields) -> dict[str, Any]:
    """The figures that are told, nulls left out; each wrong one is a problem of its own."""
    told = Fields(fields.mapping("report"), strict=False)
    report = told.each(_FIGURES)
    fields.problems += [FieldProblem(f"report.{one.field}", one.message) for one in told.problems]
    return report


def _integer(value: object) -> int:
    number = integer(value)
    if number < 0:
        raise wrong("must not be negative")
    return number


def _number(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise wrong("expected a number")
    if value < 0:
        raise wrong("must not be negative")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong("expected true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= TEXT_CHARACTERS_MAX:
        raise wrong(f"expected a text of 1 to {TEXT_CHARACTERS_MAX} characters")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or len(value) > FEATURES_MAX:
        raise wrong(f"expected a list of at most {FEATURES_MAX} texts")
    for index, text in enumerate(value):
        if not isinstance(text, str) or not 1 <= len(text) <= TEXT_CHARACTERS_MAX:
            raise wrong(f"expected a text of 1 to {TEXT_CHARACTERS_MAX} characters", f"[{index}]")
    return value


_CHECKS: Final[Mapping[Kind, Callable[[object], object]]] = {
    Kind.INTEGER: _integer,
    Kind.NUMBER: _number,
    Kind.FLAG: _flag,
    Kind.TEXT: _text,
    Kind.TEXTS: _texts,
}
_FIGURES: Final = {name: _CHECKS[kind] for name, kind in REPORT.items()}


def _issuer_keys(value: object) -> None:
    """Which keys a server holds for which project: looked at, not kept, while there are no projects."""
    if not isinstance(value, dict) or len(value) > SLUGS_MAX:
        raise wrong("expected an object with lists of texts")
    for slug, kids in value.items():
        if not isinstance(kids, list) or not all(isinstance(kid, str) for kid in kids):
            raise wrong("expected a list of texts", f".{slug}")


def _url(value: object) -> str:
    """An absolute URL of HTTP that names nobody."""
    message = f"expected an http or https URL without user info, of at most {URL_CHARACTERS_MAX} characters"
    if (
        not isinstance(value, str)
        or len(value) > URL_CHARACTERS_MAX
        or not value.isprintable()
        or " " in value
    ):
        raise wrong(message)
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and "@" not in parts.netloc
        _ = parts.port
    except ValueError:
        good = False
    if not good:
        raise wrong(message)
    return value
