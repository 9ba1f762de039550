"""Who has signed in is known to all processes that keep it in one directory."""

import os
from pathlib import Path

from less_sync.bins.people import KeptPeople


def test_what_one_keeps_the_other_knows_and_the_oldest_is_forgotten(tmp_path: Path) -> None:
    one, other = KeptPeople(tmp_path, people_max=2), KeptPeople(tmp_path, people_max=2)
    one.remember("alice", "did:1")
    assert other.did_of("alice") == "did:1"
    other.remember("alice", "did:2")
    one.remember("../bob", "did:3")
    assert [one.did_of(name) for name in ("alice", "../bob", "carol")] == ["did:2", "did:3", None]
    for path in tmp_path.iterdir():  # clocks of files are coarse
        os.utime(path, ns=(0, 1 if path == other._path("../bob") else 2))
    other.remember("carol", "did:4")
    assert [one.did_of(name) for name in ("alice", "../bob", "carol")] == ["did:2", None, "did:4"]
    assert len([*tmp_path.iterdir()]) == 2
