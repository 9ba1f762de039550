"""Whose tokens are accepted: `TRUSTED_ISSUERS`, and beside it the file that `ISSUERS_FILE` names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from less_sync.auth import (
    ISSUERS_FILE_BYTES_MAX,
    Issuer,
    IssuersFileError,
    parse_issuers_file,
    parse_trusted_issuers,
)
from less_sync.bins.errors import os_error_text
from less_sync.bins.settings.reader import SettingsReader, quoted
from less_sync.bins.settings.regular_file import NotRegular, read_regular_file


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """Both, checked; in dev mode empty."""

    plain: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Of `TRUSTED_ISSUERS`: normalised issuer to the URL of its key set."""
    file: Path | None = None
    """Where the others stand."""
    ruled: Sequence[Issuer] = field(default=(), repr=False)
    """Of `ISSUERS_FILE`, in its order; none of them is in `plain`."""

    @property
    def derives(self) -> bool:
        """Whether there are identities that are derived."""
        return any(issuer.derived for issuer in self.ruled)


def names_issuers(reader: SettingsReader) -> bool:
    """Whether one of the two variables is set, be it empty: then nobody means dev mode."""
    trusted, file = reader.is_set("TRUSTED_ISSUERS"), reader.is_set("ISSUERS_FILE")
    return trusted or file


def read_issuers(reader: SettingsReader, *, dev: bool, content: bytes | None = None) -> IssuerSettings:
    """Both variables (docs/tokens.md 4.1 and 4.5) and the file; to be left unset in dev mode.

    Args:
        content: of the file, where it was read before.
    """
    if dev:
        for name in ("TRUSTED_ISSUERS", "ISSUERS_FILE"):
            if reader.is_set(name):
                reader.problems.append(f"dev mode has an issuer of its own: unset {name} or leave out --dev")
        return IssuerSettings()
    path = reader.trimmed("ISSUERS_FILE")
    raw = reader.text("TRUSTED_ISSUERS")
    plain: Mapping[str, str] = {}
    if path is None or (raw is not None and raw.strip()):
        try:
            plain = parse_trusted_issuers(raw)
        except ValueError as error:
            reader.problems.append(str(error))
    if path is None:
        return IssuerSettings(plain)
    ruled = _read_file(reader, path, content)
    for issuer in ruled:
        if issuer.url in plain:
            reader.problems.append(
                f"ISSUERS_FILE {quoted(path)}: [issuers.{issuer.name}] issuer: is in TRUSTED_ISSUERS too, "
                "name it in one place"
            )
    return IssuerSettings(plain, Path(path), ruled)


def read_issuers_file(path: Path) -> bytes:
    """What it holds. Raises as `read_regular_file`."""
    return read_regular_file(path, ISSUERS_FILE_BYTES_MAX)


def _read_file(reader: SettingsReader, path: str, content: bytes | None) -> Sequence[Issuer]:
    try:
        return parse_issuers_file(read_issuers_file(Path(path)) if content is None else content)
    except OSError as error:
        problems = [os_error_text(error)]
    except NotRegular as error:
        problems = [str(error)]
    except ValueError as error:  # a path with NUL in it is one too
        problems = error.problems if isinstance(error, IssuersFileError) else [str(error)]
    reader.problems += [f"ISSUERS_FILE {quoted(path)}: {problem}" for problem in problems]
    return ()


def issuer_warnings(issuers: IssuerSettings, *, audiences: bool, claims_are_checked: bool) -> list[str]:
    """What leaves a door open, though the server does start; one line each.

    Args:
        audiences: `AUDIENCES` names some.
        claims_are_checked: `PERSONAL_SPACE_CHECK=derive`.
    """
    found = []
    unchecked = [issuer.name for issuer in issuers.ruled if not issuer.audiences]
    if not audiences and (issuers.plain or unchecked):
        found.append("token audiences are not checked: AUDIENCES is not set")
    claiming = issuers.plain or any(not issuer.derived for issuer in issuers.ruled)
    if issuers.derives and claiming and not claims_are_checked:
        found.append(
            "issuers whose claims are believed can name the spaces of derived identities: "
            "set PERSONAL_SPACE_CHECK=derive"
        )
    return found
