"""The probe of the database: one question for all, and an answer in time whatever the database does."""

import asyncio

from less_sync.fleet.probe import DatabaseProbe


async def test_all_who_ask_at_once_get_the_answer_to_one_question() -> None:
    asked = 0

    async def ping() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)

    probe = DatabaseProbe(ping)
    assert await asyncio.gather(*(probe.healthy() for _ in range(20))) == [True] * 20
    assert await probe.healthy()
    assert asked == 1


async def test_a_database_that_is_away_is_asked_once() -> None:
    async def ping() -> None:
        raise OSError

    probe = DatabaseProbe(ping)
    assert [await probe.healthy(), await probe.healthy()] == [False, False]


async def test_a_question_that_cannot_be_cancelled_holds_up_nobody() -> None:
    answer = asyncio.Event()
    asked = 0

    async def ping() -> None:
        nonlocal asked
        asked += 1
        while not answer.is_set():
            try:
                await answer.wait()
            except asyncio.CancelledError:  # as a driver that waits for the server to agree
                continue

    probe = DatabaseProbe(ping, deadline_s=0.05, give_up_s=0.1)
    async with asyncio.timeout(10):
        assert not await probe.healthy()
        assert not await probe.healthy()  # nobody waits for the deadline again
        assert asked == 1
        while asked == 1:
            assert not await probe.healthy()  # until the question is given up for a new one
            await asyncio.sleep(0)
        answer.set()
        while not await probe.healthy():  # noqa: ASYNC110  # an answer is due at any turn
            await asyncio.sleep(0)
    assert asked == 2


async def test_who_hangs_up_does_not_end_the_question_of_the_others() -> None:
    answer = asyncio.Event()
    probe = DatabaseProbe(answer.wait)
    first, second = asyncio.create_task(probe.healthy()), asyncio.create_task(probe.healthy())
    await asyncio.sleep(0)
    first.cancel()
    answer.set()
    assert await second
