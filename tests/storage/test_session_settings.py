"""What a connection of the pool sets at its start, and what its URL may override."""

from tests.storage.support import opened, select

TEXT = """SELECT current_setting('application_name'), current_setting('statement_timeout'),
                 current_setting('timezone'), current_setting('search_path'), current_setting('jit')"""


async def test_a_setting_in_the_url_wins_in_whatever_case_and_the_others_stay(database_url: str) -> None:
    separator = "&" if "?" in database_url else "?"
    more = "application_name=mine&statement_timeout=7s&timezone=Asia/Tokyo&search_path=public"
    async with opened(f"{database_url}{separator}{more}") as pool:
        [row] = await select(pool, TEXT)
        assert tuple(row) == ("mine", "7s", "Asia/Tokyo", "public", "off")
        con = await pool.open_connection({"application_name": "lane"})
        try:
            assert tuple(await con.fetchrow(TEXT) or ()) == ("lane", "7s", "Asia/Tokyo", "public", "off")
        finally:
            await con.close()


async def test_without_such_a_setting_ours_are_in_force(database_url: str) -> None:
    async with opened(database_url) as pool:
        [row] = await select(pool, TEXT)
    assert tuple(row)[:3] == ("less-sync", "30s", "UTC")
