"""Pulls with a replica equal pulls without, whatever is done and however far it lags."""

import random
from hashlib import sha256
from uuid import UUID, uuid4

import pytest

from less_sync.storage import DekKind, purge_space
from tests.cluster.replica.rig import Rig, pulled

STEPS = 100


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Without asyncio's debug mode, which takes ten times as long for thousands of statements."""
    return "asyncio", {"use_uvloop": True}


class Story:
    """Random changes of a few spaces. What one refuses changes nothing, which is as good."""

    def __init__(self, r: Rig, seed: int) -> None:
        self._r = r
        self._chance = random.Random(seed)
        self.spaces: list[UUID] = [uuid4() for _ in range(3)]
        self._records: dict[UUID, dict[UUID, int]] = {space: {} for space in self.spaces}
        self._epoch = dict.fromkeys(self.spaces, 1)
        self._log: dict[UUID, list[bytes]] = {space: [] for space in self.spaces}

    async def step(self) -> UUID:
        """Change one space, or how far the standby is."""
        space = self._chance.choice(self.spaces)
        does = (
            self._write,
            self._write,
            self._write,
            self._many,
            self._log_entry,
            self._rotate,
            self._rewrap,
        )
        await self._chance.choice(does)(space)
        fate = self._chance.random()
        if fate < 0.15:
            await self._r.pair.pause()
        elif fate < 0.4:
            await self._r.pair.resume()
        elif fate < 0.43:
            await self._forget(space)
        self._r.clock.now_s += self._chance.choice([0.0, 0.3, 1.1])
        return space

    async def _write(self, space: UUID) -> None:
        known = self._records[space]
        if known and self._chance.random() < 0.6:
            id = self._chance.choice(list(known))
            blob = self._chance.choice([None, b"again", self._chance.randbytes(70_000)])
            known[id] = await self._r.push(space, (id, known[id], blob))
        else:
            id = uuid4()
            known[id] = await self._r.push(space, (id, 0, b"new"))

    async def _many(self, space: UUID) -> None:
        ids = [uuid4() for _ in range(self._chance.choice([20, 600]))]
        cursor = await self._r.push(space, *((id, 0, b"many") for id in ids))
        self._records[space] |= dict.fromkeys(ids, cursor)

    async def _log_entry(self, space: UUID) -> None:
        log = self._log[space]
        payload = self._chance.randbytes(20)
        await self._r.members.append(
            space,
            expected_version=len(log),
            prev_hash=log[-1] if log else None,
            entry_hash=sha256(payload).digest(),
            payload=payload,
        )
        if self._records[space] or log:
            log.append(sha256(payload).digest())

    async def _rotate(self, space: UUID) -> None:
        if self._chance.random() < 0.5:
            outcome = await self._r.epochs.advance(space, self._epoch[space] + 1, set_min=False)
            self._epoch[space] += outcome.status == 0
        else:
            await self._r.epochs.complete(space, self._epoch[space])

    async def _rewrap(self, space: UUID) -> None:
        ids = self._chance.sample(list(self._records[space]), min(3, len(self._records[space])))
        deks = [self._epoch[space].to_bytes(4, "big") + self._chance.randbytes(40) for _ in ids]
        await self._r.deks.rewrap(DekKind.RECORDS, space, ids, deks)

    async def _forget(self, space: UUID) -> None:
        await purge_space(self._r.pool, space)
        self._records[space], self._epoch[space], self._log[space] = {}, 1, []

    def since(self) -> int:
        return self._chance.choice([-1, 0, 0, 1, 3, 10, 10_000])


@pytest.mark.parametrize("seed", range(3))
async def test_pulls_with_a_replica_equal_pulls_without(r: Rig, seed: int) -> None:
    story = Story(r, seed)
    for _ in range(STEPS):
        space, since = await story.step(), story.since()
        async with r.primary.pull(space, since) as there:
            missing = there is None
        if missing:
            async with r.pulls.pull(space, since) as pull:
                assert pull is None
        else:
            assert await pulled(r.pulls, space, since) == await pulled(r.primary, space, since)
    counts = r.replica.counts
    assert counts.served > STEPS // 10
    assert counts.refused["behind"] > 3
    assert counts.refused["away"] == counts.refused["stranger"] == 0
