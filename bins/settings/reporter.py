"""Settings of the reporter to a fleet plane (docs/fleet.md), of the sync and of the volume server.

Of all of them blank is the same as unset. Without `FLEET_URL` nothing reports.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from less_sync.bins.settings.reader import SettingsReader

STANDARD: Final = "standard"
MINIMAL: Final = "minimal"
NAME_CHARS_MAX: Final = 128
LABELS_MAX: Final = 32
LABEL_VALUE_CHARS_MAX: Final = 255
URL_CHARS_MAX: Final = 2048
BACKUP_INTERVAL_S_MAX: Final = 315_360_000
OWN_PREFIX: Final = "less-sync/"
"""Labels that begin so are the plane's."""

_ENROLMENT_TOKEN: Final = re.compile(r"lse_[!-~]{1,508}\Z", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class ReporterSettings:
    """Who reports what to which plane."""

    url: str | None
    """Without a slash at its end; None: nobody reports."""
    enrolment_token: str | None = field(repr=False)
    name: str
    labels: Mapping[str, str]
    report: str
    """`standard` or `minimal`."""
    allow_http: bool
    backup_interval_s: int | None
    """How often the operator means to back up; it is reported and nothing else."""


def read_reporter(reader: SettingsReader) -> ReporterSettings:
    """`FLEET_*` of the reporter, and `BACKUP_INTERVAL_SECONDS`."""
    # One statement per part: the order in which they stand is the order of the messages.
    url = _url(reader)
    token = reader.trimmed("FLEET_ENROLMENT_TOKEN")
    if token is not None and _ENROLMENT_TOKEN.match(token) is None:
        reader.problems.append("FLEET_ENROLMENT_TOKEN must be an enrolment token, which begins with lse_")
    name = _name(reader)
    labels = _labels(reader)
    report = reader.choice_or_blank("FLEET_REPORT", STANDARD, (STANDARD, MINIMAL))
    allow_http = reader.trimmed("FLEET_ALLOW_HTTP") is not None and reader.flag("FLEET_ALLOW_HTTP", False)
    if url is not None and url.scheme == "http" and not allow_http and not _is_loopback(url.hostname or ""):
        reader.problems.append(
            "FLEET_URL must be https:// unless its host is loopback, or FLEET_ALLOW_HTTP=true"
        )
    interval_s = reader.optional_count("BACKUP_INTERVAL_SECONDS", at_most=BACKUP_INTERVAL_S_MAX)
    place = None if url is None else url.geturl().rstrip("/")
    return ReporterSettings(place, token, name, labels, report, allow_http, interval_s)


def reporter_warnings(settings: ReporterSettings) -> list[str]:
    """What does not fit together, though the server does start; one line each."""
    if settings.url is None and settings.enrolment_token is not None:
        return ["FLEET_ENROLMENT_TOKEN is ignored: FLEET_URL is not set"]
    return []


def _url(reader: SettingsReader) -> SplitResult | None:
    raw = reader.trimmed("FLEET_URL")
    if raw is None:
        return None
    parts = None
    try:
        found = urlsplit(raw)
        usual = found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0
        # A user name may be a password, so nothing is quoted of a URL that has one.
        if usual and "@" not in found.netloc and not found.query and not found.fragment:
            parts = found if raw.isascii() and raw.isprintable() and len(raw) <= URL_CHARS_MAX else None
    except ValueError:
        pass
    if parts is None or " " in raw:
        reader.problems.append(
            "invalid FLEET_URL: expected https://host or https://host:port, without user, query and fragment"
        )
        return None
    return parts


def _name(reader: SettingsReader) -> str:
    name = reader.trimmed("FLEET_NAME")
    if name is None:
        return socket.gethostname()[:NAME_CHARS_MAX]
    if len(name) > NAME_CHARS_MAX or not name.isprintable():
        reader.problems.append(f"FLEET_NAME must be 1 to {NAME_CHARS_MAX} characters, none of control")
    return name


def _labels(reader: SettingsReader) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    entries = [one.strip() for one in (reader.trimmed("FLEET_LABELS") or "").split(",") if one.strip()]
    for entry in entries:
        key, equals, value = (part.strip() for part in entry.partition("="))
        usual = equals and value.isprintable() and len(value) <= LABEL_VALUE_CHARS_MAX and key not in labels
        if not usual or _LABEL.match(key) is None or key.startswith(OWN_PREFIX):
            reader.reject(
                "FLEET_LABELS",
                entry,
                f"expected key=value, a key once, of a-z, 0-9, '.', '_', '/', '-', not below {OWN_PREFIX}",
            )
        labels[key] = value
    if len(labels) > LABELS_MAX:
        reader.problems.append(f"FLEET_LABELS must not have more than {LABELS_MAX} labels")
    return labels


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
