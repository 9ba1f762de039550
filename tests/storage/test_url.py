"""Database URLs written for the existing servers."""

import pytest

from less_sync.storage.postgres.url import split_url
from tests.storage.support import opened, select


@pytest.mark.parametrize(
    ("query", "kept", "settings"),
    [
        ("", "", {}),
        ("?statement-cache-capacity=50", "", {}),
        ("?sslmode=disable", "?sslmode=disable", {}),
        ("?ssl-mode=require&ssl-ca=/ca.pem", "?sslmode=require&sslrootcert=%2Fca.pem", {}),
        ("?options=-csearch_path%3Dx", "", {"search_path": "x"}),
        (
            "?options=-c%20a%3D1%20--work-mem%3D2%20-cb%3Dx%5C%20y",
            "",
            {"a": "1", "work_mem": "2", "b": "x y"},
        ),
        ("?options[search_path]=x&options[jit]=on", "", {"search_path": "x", "jit": "on"}),
        ("?application_name=mine", "", {"application_name": "mine"}),
        ("?host=/run/pg", "?host=%2Frun%2Fpg", {}),
    ],
)
def test_options_become_what_the_driver_understands(query: str, kept: str, settings: dict[str, str]) -> None:
    assert split_url(f"postgres://u:p%40@h:1/db{query}") == (f"postgres://u:p%40@h:1/db{kept}", settings)


async def test_a_pool_opens_with_options_of_the_existing_servers_driver(database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    url = f"{database_url}{separator}statement-cache-capacity=10&options=-csearch_path%3Dpublic"
    async with opened(f"{url}&application_name=mine") as pool:
        text = "SELECT current_setting('search_path'), current_setting('application_name')"
        [row] = await select(pool, text)
    assert tuple(row) == ("public", "mine")
