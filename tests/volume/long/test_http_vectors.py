"""The recorded requests, played against our server and, to prove the player, against the real one."""

from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.volume.replay import replay, scenarios

SCENARIOS: Final = scenarios()
OUR_VERSION: Final = "30GB 4.44"
REAL_VERSION: Final = "8000GB 4.44"
"""The real server of the tests has five-byte offsets; the recorded one had four."""
REAL_COMMIT: Final = "pypi"


class Allowed(NamedTuple):
    """Why our answer to a step is another one, and how what differs begins."""

    reason: str
    differences: tuple[str, ...]


OWN_PICTURES: Final = "the pictures are our own"
OURS_MAY_DIFFER: Final[dict[str, dict[str, Allowed]]] = {
    "admin": {
        "ui": Allowed("the page is sent whole", ("header content-length", "header transfer-encoding")),
        "favicon": Allowed(OWN_PICTURES, ("header content-length", "body")),
        "favicon-range": Allowed(OWN_PICTURES, ("header content-range",)),
        "static-png": Allowed(OWN_PICTURES, ("header content-length", "body")),
        "public-favicon": Allowed(OWN_PICTURES, ("header content-length", "body")),
    },
    "fid-forms": {
        "post-unknown-volume-is-201": Allowed(
            "what nobody stored is not acknowledged",
            ("status 500, not 201", "header content-length", "header content-md5", "header etag", "body"),
        )
    },
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_our_server_answers_as_recorded(name: str, tmp_path: Path) -> None:
    found = replay(SCENARIOS[name], "ours", tmp_path, version=OUR_VERSION)
    allowed = OURS_MAY_DIFFER.get(name, {})
    assert {step: lines for step, lines in found.items() if step not in allowed} == {}
    # A step that differs in less than it may has to leave the list.
    for step, (_, differences) in allowed.items():
        lines = found.get(step, [])
        assert len(lines) == len(differences), lines
        assert all(line.startswith(start) for line, start in zip(lines, differences, strict=True)), lines


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_real_server_answers_as_recorded(name: str, tmp_path: Path) -> None:
    assert replay(SCENARIOS[name], "weed", tmp_path, version=REAL_VERSION, commit=REAL_COMMIT) == {}


def test_all_recorded_requests_are_played() -> None:
    steps = [step for scenario in SCENARIOS.values() for step in scenario["steps"]]
    assert sum("expect" in step for step in steps) == 392
    assert all("expect" in step or step["method"] in ("GRPC", "STOP") for step in steps)
