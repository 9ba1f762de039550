"""All procedures, by the name that manifests use (docs/validation.md 6)."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from less_sync.validation.checks import (
    auth,
    backup,
    command,
    contract,
    database,
    database_images,
    database_integrity,
    observability,
    rollback,
    service,
)
from less_sync.validation.procedure import Procedure


def table(*lanes: Iterable[Procedure]) -> Mapping[str, Procedure]:
    """The procedures of these lanes, in order; each name is there once."""
    procedures: dict[str, Procedure] = {}
    for procedure in (one for lane in lanes for one in lane):
        assert procedure.name not in procedures, procedure.name
        procedures[procedure.name] = procedure
    return MappingProxyType(procedures)


CATALOGUE: Final = table(
    service.PROCEDURES,
    auth.PROCEDURES,
    contract.PROCEDURES,
    database.PROCEDURES,
    database_integrity.PROCEDURES,
    database_images.PROCEDURES,
    backup.PROCEDURES,
    observability.PROCEDURES,
    rollback.PROCEDURES,
    command.PROCEDURES,
)
