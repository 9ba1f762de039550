"""A backup that is under way for a while: what it read rows of must stay in the store until it ends."""

import random
from typing import Final

from tests.simulation.contents import DistantBlobs
from tests.simulation.database import Database
from tests.simulation.loop import SimulatedLoop
from tests.simulation.rules import Court, Rule
from tests.simulation.system import BlobKey

LIKELIHOOD: Final = 0.5
"""Of one in a seed where anything else happens at all."""


class ModelledBackup:
    """Waits for whoever shares its lock, takes a snapshot, and looks at the end whether contents stayed.

    Its times come from a generator of its own: without it a seed plays as it did before there were any.
    """

    def __init__(
        self, seed: int, loop: SimulatedLoop, database: Database, blobs: DistantBlobs, court: Court
    ) -> None:
        self._chance = random.Random(f"backup {seed}")
        self._loop = loop
        self._database = database
        self._blobs = blobs
        self._court = court
        self._kept: dict[BlobKey, bytes] = {}

    def plan(self, play_s: float) -> None:
        """Perhaps make one, which ends before the play does."""
        if self._chance.random() < LIKELIHOOD:
            begins_s, ends_s = sorted(self._chance.random() * min(play_s, 4.0) for _ in range(2))
            self._loop.outside(begins_s, "backup", lambda: self._database.begin_backup(self._snapshot))
            self._loop.outside(ends_s, "end of the backup", self._end)

    def _snapshot(self) -> None:
        marks = {BlobKey(*ids): self._blobs.mark_at(BlobKey(*ids)) for ids in self._database.tables.files}
        self._kept = {key: mark for key, mark in marks.items() if mark is not None}

    def _end(self) -> None:
        for key, mark in self._kept.items():
            if self._blobs.mark_at(key) != mark and key not in self._blobs.vanished:
                what = f"the content of {key.file} did not stay while a backup was under way"
                self._court.charge(Rule.FILES, what, self._loop.time())
        self._kept = {}
        self._database.end_backup()
