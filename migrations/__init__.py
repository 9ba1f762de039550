"""How the schema got here: numbered scripts, applied under a lock and recorded with what they did."""

from migrations.errors import DatabaseUnreachable, MigrationError, NeedsConfirmation, NothingToRollBack
from migrations.runner import Applied, State, migrate_down, migrate_up, pending, revertible, status, version

__all__ = [
    "Applied",
    "DatabaseUnreachable",
    "MigrationError",
    "NeedsConfirmation",
    "NothingToRollBack",
    "State",
    "migrate_down",
    "migrate_up",
    "pending",
    "revertible",
    "status",
    "version",
]
