"""`less-sync fleet migrate` on the plane's private Postgres, beside that of a sync server."""

from pathlib import Path
from typing import Final

from less_sync.bins.postgres.embedded import EmbeddedPostgres
from less_sync.bins.settings.fleet_schema import fleet_directory
from less_sync.fleet.line import FleetLine
from tests.bins.commands import Finished, run_less_sync

LAST: Final = max(FleetLine().load())
QUICK: Final = {"fsync": "off"}


async def test_the_plane_s_own_postgres_is_migrated_while_no_plane_has_it(tmp_path: Path) -> None:
    env = {"DATA_DIR": str(tmp_path)}
    async with EmbeddedPostgres(tmp_path, settings=QUICK):  # a sync server's: not the one that is meant
        unset = Finished(1, "", "Error: DATABASE_URL is not set\n")
        assert await run_less_sync("fleet", "migrate", env=env) == unset
        async with EmbeddedPostgres(fleet_directory(tmp_path), settings=QUICK):
            in_use = await run_less_sync("fleet", "migrate", env=env)
            assert (in_use.status, in_use.out) == (1, "")
            assert str(fleet_directory(tmp_path)) in in_use.err
        done = await run_less_sync("fleet", "migrate", env=env)
        assert (done.status, done.out) == (0, "migrations complete\n"), done.err
    assert await run_less_sync("fleet", "migrate", "version", env=env) == Finished(0, f"{LAST}\n", "")
    assert (await run_less_sync("migrate", "version", env=env)).out == "0\n"
