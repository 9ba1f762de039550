"""The named SQL of the plane, loaded once from `sql/*.sql`; no statement is built from text."""

from pathlib import Path
from typing import Final

from less_sync.storage import load_queries

QUERIES: Final = load_queries(Path(__file__).with_name("sql"))
"""Every named query of the room; a test prepares each on the migrated schema."""


def sql(name: str) -> str:
    """Return the text of a named query; KeyError when there is none."""
    return QUERIES[name].text
