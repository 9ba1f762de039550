"""Which database a command of operators works on that needs little else of a server's settings."""

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


Timeout = Annotated[
    float, typer.Option(min=1, max=86_400, metavar="SECONDS", help="How long one statement may take.")
]

UrlVariable = Annotated[
    str | None, typer.Option(metavar="URL", help="DATABASE_URL: a Postgres; default the embedded one.")
]
DataDirVariable = Annotated[
    str | None, typer.Option(metavar="DIR", help="DATA_DIR: where the server keeps its own things.")
]


def data_directory_meant(data_dir: Path | None) -> Path:
    """The data directory: what the line says, else the environment."""
    from less_sync.bins.settings.config import data_directory, environment

    return data_dir or data_directory(environment())


def database_meant(database_url: str | None, data_dir: Path | None) -> "Database":
    """The database: what the line says, else the environment, else the one in the data directory.

    Raises:
        CommandError: none is named, and the data directory holds none.
    """
    from less_sync.bins.postgres.operator import existing
    from less_sync.bins.settings.config import environment

    if database_url is not None and data_dir is not None:
        raise typer.BadParameter("give one of --database-url and --data-dir")
    url = environment().get("DATABASE_URL") if database_url is None and data_dir is None else database_url
    return existing(url, data_directory_meant(data_dir))


def environment_with(**options: str | None) -> dict[str, str]:
    """The environment, with what the line says in place of the variables it names."""
    from less_sync.bins.settings.config import environment

    return {**environment(), **{name: value for name, value in options.items() if value is not None}}
