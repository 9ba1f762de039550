"""The recorded requests, played against our server and, to prove the player, against the real one."""

from pathlib import Path
from typing import Final

import pytest

from tests.volume.replay import replay, scenarios

SCENARIOS: Final = scenarios()
OUR_VERSION: Final = "30GB 4.44"
REAL_VERSION: Final = "8000GB 4.44"
"""The real server of the tests has five-byte offsets; the recorded one had four."""
REAL_COMMIT: Final = "pypi"

OURS_MAY_DIFFER: Final[dict[tuple[str, str], str]] = {
    ("fid-forms", "post-unknown-volume-is-201"): "a write that nobody stored is not acknowledged: 500",
    ("admin", "ui"): "the page is sent with its length instead of chunked",
    ("admin", "favicon"): "own artwork, of another length",
    ("admin", "favicon-range"): "own artwork, of another length",
    ("admin", "public-favicon"): "own artwork, of another length",
    ("admin", "static-png"): "own artwork, of another length",
}
"""(scenario, step): why our answer is another one. A step that stops differing has to leave this list."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_our_server_answers_as_recorded(name: str, tmp_path: Path) -> None:
    found = replay(SCENARIOS[name], "ours", tmp_path, version=OUR_VERSION)
    allowed = {step for scenario, step in OURS_MAY_DIFFER if scenario == name}
    assert {step: lines for step, lines in found.items() if step not in allowed} == {}
    assert allowed <= found.keys()


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_real_server_answers_as_recorded(name: str, tmp_path: Path) -> None:
    assert replay(SCENARIOS[name], "weed", tmp_path, version=REAL_VERSION, commit=REAL_COMMIT) == {}


def test_all_recorded_requests_are_played() -> None:
    steps = [step for scenario in SCENARIOS.values() for step in scenario["steps"]]
    assert sum("expect" in step for step in steps) == 392
    assert all("expect" in step or step["method"] in ("GRPC", "STOP") for step in steps)
