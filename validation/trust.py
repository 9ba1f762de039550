"""Whose reports count, and what one has to be: for the command, and for checks that rest on a report."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from less_sync.validation.attest import parse_trusted_keys
from less_sync.validation.manifest import built_in, declared
from less_sync.validation.policy import digest
from less_sync.validation.procedure import KINDS, Procedure
from less_sync.validation.repository import Repository
from less_sync.validation.verify import Verdict, Wanted, verify

TRUSTED: Final = "TRUSTED_KEYS"


def trusted_path(folder: Path) -> Path:
    """Where the trusted keys of a report are unless another file is named: beside all names' reports."""
    return folder.resolve().parent.parent / TRUSTED


def trusted_keys(path: Path) -> dict[str, bytes]:
    """The keys whose signatures count, by id; without a file none does.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds something else.
    """
    try:
        return parse_trusted_keys(path.read_bytes())
    except FileNotFoundError:
        return {}


def wanted(
    catalogue: Mapping[str, Procedure],
    environment: Mapping[str, str],
    keys: Mapping[str, bytes],
    **demands: Any,
) -> Wanted:
    """What a report has to be: these demands (`Wanted`), by these keys, now, and in its own work tree."""

    def builtin_policy(kind: str) -> str:
        if kind not in KINDS:
            return ""
        return digest(declared(built_in(kind), f"{kind}.toml", catalogue=catalogue, environment={}))

    return Wanted(
        trusted=keys,
        builtin_policy=builtin_policy,
        now=datetime.now(UTC),
        repository=lambda folder: Repository.around(folder, environment),
        **demands,
    )


def verifier(
    catalogue: Mapping[str, Procedure], environment: Mapping[str, str]
) -> Callable[[Path, str, str], Verdict]:
    """Tells whether the report in a folder is a GO of a kind and a stage that may be acted on.

    What it returns raises OSError and ValueError as `trusted_keys`.
    """

    def verdict(folder: Path, kind: str, stage: str) -> Verdict:
        keys = trusted_keys(trusted_path(folder))
        return verify(folder, wanted(catalogue, environment, keys, kind=kind, stage=stage))

    return verdict
