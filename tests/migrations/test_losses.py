"""The list of what going down loses: a row for each step, read strictly."""

from pathlib import Path

import pytest

from less_sync.migrations import losses, migrate_down

from .support import CATALOG, SPACE, execute, seeded_at, value


def test_every_down_script_has_a_row_and_no_row_is_without_one() -> None:
    assert list(losses()) == list(CATALOG)


def test_what_asks_says_what_is_lost_and_own_migrations_lose_nothing() -> None:
    for version, loss in losses().items():
        assert bool(loss.text) is not loss.is_nothing
        assert loss.is_nothing or version <= 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[down]]\nversion = 1\n", "not as it must be"),
        ("[[down]]\nversion = '1'\nname = 'nothing'\n", "not as it must be"),
        ("[[down]]\nversion = 1\nname = 'nothing'\nask = true\n", "not as it must be"),
        ("[[down]]\nversion = 1\nname = 'nothing'\nasks = true\n", "a loss has a name and a text"),
        ("[[down]]\nversion = 1\nname = 'nothing'\ntext = 'x'\n", "a loss has a name and a text"),
        ("[[down]]\nversion = 1\nname = 'a loss'\ntext = 'x'\n", "a loss has a name and a text"),
        ("[[down]]\nversion = 1\nname = 'loss'\n", "a loss has a name and a text"),
        ("[[down]]\nversion = 1\nname = 'nothing'\n" * 2, "is there twice"),
        (
            "[[down]]\nversion = 1\nname = 'a'\ntext = 'x'\n[[down]]\nversion = 2\nname = 'a'\ntext = 'x'",
            "twice",
        ),
    ],
)
def test_a_list_that_is_not_as_it_must_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "losses.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        losses(tmp_path)


async def test_the_query_of_a_loss_says_whether_there_is_something_to_lose(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 12)
    query = losses()[9].query
    assert query is not None
    assert await value(empty_database_url, query) is False
    await execute(empty_database_url, f"UPDATE spaces SET rewrap_epoch = 2 WHERE id = '{SPACE}'")
    assert await value(empty_database_url, query) is True


async def test_a_loss_that_does_not_ask_needs_no_confirmation(empty_database_url: str) -> None:
    await seeded_at(empty_database_url, 8)
    assert (await migrate_down(empty_database_url)).version == 8
