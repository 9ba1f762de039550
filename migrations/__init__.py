"""How the schema got here: numbered scripts, applied under a lock and recorded with what they did.

catalog.py     the scripts, and what the existing servers know of them
connection.py  URL, session settings, lock          session.py  connected, and what may be trusted
history.py     what a database says was done to it  schema.py   what its tables look like
runner.py      up, down, status                     repair.py   cursors for rows of before migration 10
create.py      new scripts                          errors.py   why it did not work
"""

if __name__ != "less_sync.migrations":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.migrations, not {__name__}: each class would exist twice")

from less_sync.migrations.create import create
from less_sync.migrations.errors import (
    DatabaseUnreachable,
    MigrationError,
    NeedsConfirmation,
    NothingToRollBack,
    os_error_text,
)
from less_sync.migrations.repair import Cursorless, Repaired, cursorless, repair_cursors
from less_sync.migrations.runner import (
    Applied,
    State,
    migrate_down,
    migrate_up,
    pending,
    revertible,
    status,
    version,
)

__all__ = [
    "Applied",
    "Cursorless",
    "DatabaseUnreachable",
    "MigrationError",
    "NeedsConfirmation",
    "NothingToRollBack",
    "Repaired",
    "State",
    "create",
    "cursorless",
    "migrate_down",
    "migrate_up",
    "os_error_text",
    "pending",
    "repair_cursors",
    "revertible",
    "status",
    "version",
]
