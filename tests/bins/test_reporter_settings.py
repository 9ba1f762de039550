"""Settings of the reporter to a fleet plane: defaults, forms, exact messages, and no secret shown."""

import socket

import pytest

from less_sync.bins.settings.reporter import ReporterSettings
from less_sync.bins.settings.shown import MASK, rows
from tests.bins.environments import NEEDED, problem, problems, read

URL = "invalid FLEET_URL: expected https://host or https://host:port, without user, query and fragment"
PLAIN = "FLEET_URL must be https:// unless its host is loopback, or FLEET_ALLOW_HTTP=true"
TOKEN = "FLEET_ENROLMENT_TOKEN must be an enrolment token, which begins with lse_"


def test_blank_is_the_same_as_unset() -> None:
    names = (
        *("FLEET_URL", "FLEET_ENROLMENT_TOKEN", "FLEET_NAME", "FLEET_LABELS", "FLEET_REPORT"),
        *("FLEET_ALLOW_HTTP", "BACKUP_INTERVAL_SECONDS"),
    )
    unset = ReporterSettings(None, None, socket.gethostname(), {}, "standard", False, None)
    assert read().reporter == unset
    assert read(**dict.fromkeys(names, " ")).reporter == unset


def test_all_of_them() -> None:
    settings = read(
        FLEET_URL=" https://fleet.example:8443/base/ ",
        FLEET_ENROLMENT_TOKEN="lse_secret",
        FLEET_NAME=" Größe 1 ",
        FLEET_LABELS=" site=hel1, rack/1.a=b=c,empty=, ",
        FLEET_REPORT="Minimal",
        BACKUP_INTERVAL_SECONDS="86400",
    )
    assert settings.reporter == ReporterSettings(
        "https://fleet.example:8443/base",
        "lse_secret",
        "Größe 1",
        {"site": "hel1", "rack/1.a": "b=c", "empty": ""},
        "minimal",
        False,
        86_400,
    )
    assert "secret" not in repr(settings)
    shown = {row.name: row.value for row in rows(settings)}
    assert shown["FLEET_ENROLMENT_TOKEN"] == MASK
    assert shown["FLEET_LABELS"] == "site=hel1,rack/1.a=b=c,empty="


@pytest.mark.parametrize(
    ("env", "message"),
    [
        *(
            ({"FLEET_URL": url}, URL)
            for url in (
                *("fleet.example", "ftp://h", "https://", "https://h:0", "https://h:x", "https://h:65536"),
                *("https://u:hunter2@h", "https://h/?token=hunter2", "https://h/#a", "https://h/a b"),
                *("https://größe", "https://h/" + "a" * 2048, "https://[::1"),
            )
        ),
        *(
            ({"FLEET_URL": url}, PLAIN)
            for url in ("http://fleet.example", "http://10.0.0.1", "http://[::2]:1")
        ),
        *(({"FLEET_ENROLMENT_TOKEN": one}, TOKEN) for one in ("hunter2", "lse_", "lse_a b", "lse_ü")),
        ({"FLEET_NAME": "a\x07"}, "FLEET_NAME must be 1 to 128 characters, none of control"),
        ({"FLEET_NAME": "a" * 129}, "FLEET_NAME must be 1 to 128 characters, none of control"),
        (
            {"FLEET_LABELS": ",".join(f"k{n}=v" for n in range(33))},
            "FLEET_LABELS must not have more than 32 labels",
        ),
        (
            {"FLEET_REPORT": "coarse"},
            'invalid FLEET_REPORT value "coarse": expected one of "standard", "minimal"',
        ),
        (
            {"BACKUP_INTERVAL_SECONDS": "0"},
            "BACKUP_INTERVAL_SECONDS must be greater than zero",
        ),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_quoted(env: dict[str, str], message: str) -> None:
    assert problem(**env) == message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "entry", ["a", "=b", "A=b", "-a=b", "a-=b", "less-sync/a=b", "a=\x01", "a=" + "b" * 256, "a" * 64 + "=b"]
)
def test_a_label_has_its_form(entry: str) -> None:
    assert problem(FLEET_LABELS=entry).startswith("invalid FLEET_LABELS value ")


def test_a_label_comes_once() -> None:
    assert problem(FLEET_LABELS="a=1,a=2").startswith('invalid FLEET_LABELS value "a=2": ')


@pytest.mark.parametrize("url", ["http://127.0.0.9:1", "http://[::1]:1", "http://LOCALHOST"])
def test_loopback_needs_no_tls(url: str) -> None:
    assert read(FLEET_URL=url).reporter.url is not None


def test_plain_http_can_be_allowed() -> None:
    assert read(FLEET_URL="http://fleet.example", FLEET_ALLOW_HTTP="yes").reporter.allow_http


def test_all_problems_are_told_at_once() -> None:
    env = {"FLEET_URL": "x", "FLEET_ENROLMENT_TOKEN": "x", "FLEET_NAME": "\x01", "FLEET_REPORT": "x"}
    assert len(problems(NEEDED | env | {"FLEET_LABELS": "x", "BACKUP_INTERVAL_SECONDS": "x"})) == 6


def test_a_token_without_a_plane_is_warned_of() -> None:
    warning = "FLEET_ENROLMENT_TOKEN is ignored: FLEET_URL is not set"
    assert warning in read(FLEET_ENROLMENT_TOKEN="lse_x").warnings()
    assert warning not in read(FLEET_ENROLMENT_TOKEN="lse_x", FLEET_URL="https://h").warnings()
