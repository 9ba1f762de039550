"""How the schema got here: numbered scripts, applied under a lock and recorded with what they did.

catalog.py     the scripts, and what the existing servers know of them
connection.py  URL, session settings, lock          session.py  connected, and what may be trusted
line.py        what a line of migrations must say   runner.py   up, down, status on a line
sync_line.py   the line meant where none is named   history.py  what a database says was done to it
schema.py      what its tables look like            repair.py   cursors for rows of before migration 10
create.py      new scripts                          errors.py   why it did not work
restoring.py   a database that a backup goes into   half_restored.py   its mark, which keeps others out
losses.py      what going down loses                copy_text.py  the order in which rows are copied out
drift.py       what a database has beside what it should have, for whoever judges it
"""

if __name__ != "less_sync.migrations":  # the checkout is on sys.path under pytest and `python -m`
    raise ImportError(f"import less_sync.migrations, not {__name__}: each class would exist twice")

from less_sync.migrations.catalog import SHARED_LAST, Catalog, Migration, load, scripts
from less_sync.migrations.connection import Connection
from less_sync.migrations.copy_text import copy_query, quoted
from less_sync.migrations.create import create
from less_sync.migrations.drift import Announced, Difference, Recorded, announced, drift, recorded
from less_sync.migrations.errors import (
    DatabaseUnreachable,
    LockHeld,
    MigrationError,
    NeedsConfirmation,
    NothingToRollBack,
    refused,
)
from less_sync.migrations.half_restored import RESTORE_MARK, Begun, begun, refuse_half_restored
from less_sync.migrations.history import BOOKKEEPING
from less_sync.migrations.line import History, Line, Row, relation_exists, verify
from less_sync.migrations.losses import Loss, losses
from less_sync.migrations.repair import Cursorless, Repaired, cursorless, repair_cursors
from less_sync.migrations.restoring import (
    COPY_SETTINGS,
    RestoredDatabase,
    UnknownVersions,
    restoring,
    schema_at,
)
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
from less_sync.migrations.schema import TABLES
from less_sync.migrations.sync_line import SYNC

__all__ = [
    "BOOKKEEPING",
    "COPY_SETTINGS",
    "RESTORE_MARK",
    "SHARED_LAST",
    "SYNC",
    "TABLES",
    "Announced",
    "Applied",
    "Begun",
    "Catalog",
    "Connection",
    "Cursorless",
    "DatabaseUnreachable",
    "Difference",
    "History",
    "Line",
    "LockHeld",
    "Loss",
    "Migration",
    "MigrationError",
    "NeedsConfirmation",
    "NothingToRollBack",
    "Recorded",
    "Repaired",
    "RestoredDatabase",
    "Row",
    "State",
    "UnknownVersions",
    "announced",
    "begun",
    "copy_query",
    "create",
    "cursorless",
    "drift",
    "load",
    "losses",
    "migrate_down",
    "migrate_up",
    "pending",
    "quoted",
    "recorded",
    "refuse_half_restored",
    "refused",
    "relation_exists",
    "repair_cursors",
    "restoring",
    "revertible",
    "schema_at",
    "scripts",
    "status",
    "verify",
    "version",
]
