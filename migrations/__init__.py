"""How the schema got here: numbered scripts, applied under a lock and recorded with what they did.

catalog.py     the scripts, and what the existing servers know of them
connection.py  URL, session settings, lock          session.py  connected, and what may be trusted
history.py     what a database says was done to it  schema.py   what its tables look like
runner.py      up, down, status                     repair.py   cursors for rows of before migration 10
create.py      new scripts                          errors.py   why it did not work
"""

from migrations.create import create
from migrations.errors import DatabaseUnreachable, MigrationError, NeedsConfirmation, NothingToRollBack
from migrations.repair import Cursorless, Repaired, cursorless, repair_cursors
from migrations.runner import Applied, State, migrate_down, migrate_up, pending, revertible, status, version

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
    "pending",
    "repair_cursors",
    "revertible",
    "status",
    "version",
]
