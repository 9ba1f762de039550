"""Which database a command of operators works on that needs nothing else of a server's settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from less_sync.bins.postgres.operator import Database

DatabaseUrl = Annotated[
    str | None, typer.Option(metavar="URL", help="The server's database; default DATABASE_URL.")
]
DataDirectory = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Instead: the server's own Postgres there; default DATA_DIR, or ./data."
    ),
]


def data_directory(data_dir: Path | None) -> Path:
    """The data directory: what the line says, else the environment."""
    from less_sync.bins.settings.config import environment

    return data_dir or Path(environment().get("DATA_DIR") or "data")


def database_meant(database_url: str | None, data_dir: Path | None) -> "Database":
    """The database: what the line says, else the environment, else the one in the data directory.

    Raises:
        CommandError: none is named, and the data directory holds none.
    """
    from less_sync.bins.errors import CommandError
    from less_sync.bins.postgres.embedded import EmbeddedPostgres
    from less_sync.bins.postgres.operator import Database
    from less_sync.bins.settings.config import environment

    if database_url is not None and data_dir is not None:
        raise typer.BadParameter("give one of --database-url and --data-dir")
    url = environment().get("DATABASE_URL") if database_url is None and data_dir is None else database_url
    if url is not None:
        return Database(url)
    place = data_directory(data_dir)
    if not EmbeddedPostgres.exists(place):
        raise CommandError(f"no database: set --database-url or DATABASE_URL; {place} holds none")
    return Database(data_dir=place)
