"""Lane `contract`: what clients rely on, promise by promise (docs/validation.md 6.3)."""

from typing import Final

from less_sync.validation.checks import (
    contract_cleanup,
    contract_files,
    contract_live,
    contract_production,
    contract_records,
    contract_sharing,
    contract_sockets,
)
from less_sync.validation.procedure import Procedure

PROCEDURES: Final[tuple[Procedure, ...]] = (
    *contract_records.PROCEDURES,
    *contract_live.PROCEDURES,
    *contract_files.PROCEDURES,
    *contract_sharing.PROCEDURES,
    *contract_sockets.PROCEDURES,
    *contract_production.PROCEDURES,
    *contract_cleanup.PROCEDURES,
)
