"""The recorded calls, played against our server and, to prove the player, against the real one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from less_sync.volume.grpc.table import CALLS
from tests.volume.cluster import Cluster, Kind
from tests.volume.grpc_replay import Player, sequences

PLAYED: Final = {
    "single-a": ((), 219),
    "single-b": (("sync-and-file-status", "copy-file", "copy-file-chunks", "leave"), 41),
    "white-list": ((), 49),
}
"""By cluster: the sequences of what is served, all if none is named, and how many steps they have."""
NOT_SERVED_STEPS: Final = {"single-a": 5, "single-b": 0, "white-list": 8}
"""So many reach a call that is not served yet, and are answered with that."""
FLAGS: Final = {"white-list": ("-whiteList=10.9.9.9",)}
REAL_DIFFERS: Final = {
    "single-a": {
        *("allocate-mount-delete[4]", "configure[3]", "readonly-writable[4]", "readonly-writable[9]"),
        *("readonly-writable[13]", "blob-and-meta[2]", "blob-and-meta[21]", "deleted-meta[3]"),
        *("vacuum[15]", "vacuum[23]", "vacuum[31]"),
        "blob-and-meta[6]",
        "allocate-mount-delete[24]",
    },
    "single-b": {"sync-and-file-status[2]", "sync-and-file-status[3]"},
    "white-list": set(),
}
"""Where the real server of the tests is not the recorded one: its rows have 17 bytes, and so it has another
text for a wrong size. The last one of the first cluster is where ours differs on purpose."""
_NOT_SERVED: Final = {row.name for row in CALLS if row.handler is None}
_CHECKS: Final = ("not authorized: ", "volume server ")


@pytest.mark.parametrize("name", PLAYED)
def test_our_server_answers_calls_as_recorded(name: str, tmp_path: Path) -> None:
    not_served = []

    def wanted(sequence: str, step: Mapping[str, Any]) -> Any:
        expected = _recorded(sequence, step)
        if step.get("method") not in _NOT_SERVED or expected.get("message", "").startswith(_CHECKS):
            return expected
        not_served.append(step["method"])
        failure = {"code": "UNIMPLEMENTED", "message": f"method {step['method']} not implemented"}
        return {"responses": [], **failure} if "responses" in expected else failure

    assert _play(name, "ours", tmp_path, wanted) == {}
    assert len(not_served) == NOT_SERVED_STEPS[name]


@pytest.mark.parametrize("name", PLAYED)
def test_the_real_server_answers_calls_as_recorded(name: str, tmp_path: Path) -> None:
    assert _play(name, "weed", tmp_path, _recorded).keys() == REAL_DIFFERS[name]


def _recorded(sequence: str, step: Mapping[str, Any]) -> Any:
    """What was recorded; but the state that `leave` finds was changed by sequences that are not played."""
    return (
        {"response": {"state": {}}}
        if (sequence, step.get("method")) == ("leave", "GetState")
        else step["expect"]
    )


def _play(name: str, kind: Kind, directory: Path, wanted: Any) -> dict[str, list[str]]:
    chosen, steps = PLAYED[name]
    flags = ("-max=100", *FLAGS.get(name, ()))
    with Cluster(directory, kind, flags=flags, offset_bytes=4 if kind == "ours" else 5) as cluster:
        player = Player(cluster, wanted)
        for sequence in sequences():
            if sequence["cluster"] == name and (not chosen or sequence["name"] in chosen):
                player.play(sequence)
    assert player.played == steps
    return player.found
