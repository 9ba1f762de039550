"""Reading the file that `ISSUERS_FILE` names: a TOML table per issuer (docs/tokens.md 4.5).

All that is wrong with it is told at once. Messages repeat names, never values: one may hold a password.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from less_sync.auth.config import url_fault
from less_sync.auth.issuers import DEFAULT_ALGORITHMS, ClientClaim, Grant, Issuer, normalize_issuer
from less_sync.auth.signatures import ALGORITHMS

ISSUERS_MAX: Final = 100
"""Tables a file may have."""
ISSUERS_FILE_BYTES_MAX: Final = 256 * 1024
PROBLEMS_MAX: Final = 20

_ITEMS_MAX: Final = 100
"""Entries of one list."""
_TEXT_CHARS_MAX: Final = 1024
_DEFAULT: Final = object()
_MEMBERS: Final = ("issuer", "algorithms", "keys", "client_id", "audiences", "sync", "files", "identity")
_CLIENT_CLAIMS: Final[Mapping[str, ClientClaim]] = {"client_id": "client_id", "azp": "azp"}
_NO_URL_CHARS: Final = re.compile(r"[\x00-\x20\x7f\\]")


class IssuersFileError(ValueError):
    """The file is not usable. `problems` holds one message each, 20 at most, in the order of the file."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(*problems)
        self.problems = problems


def parse_issuers_file(content: bytes) -> tuple[Issuer, ...]:
    """Read the file's content, at most 256 KiB.

    Raises:
        IssuersFileError: with all problems at once, each to be put behind the name of the file.
    """
    problems: list[str] = []
    issuers = list(_issuers(_tables(content), problems))
    seen: dict[str, str] = {}
    for issuer in issuers:
        other = seen.setdefault(issuer.url, issuer.name)
        if other != issuer.name:
            problems.append(f"[issuers.{issuer.name}] issuer: the same as in [issuers.{other}]")
    if problems:
        raise IssuersFileError(problems[:PROBLEMS_MAX])
    return tuple(issuers)


def _tables(content: bytes) -> Mapping[str, Any]:
    """The document. Raises IssuersFileError when it is no TOML."""
    import tomllib

    if len(content) > ISSUERS_FILE_BYTES_MAX:
        raise IssuersFileError([f"larger than {ISSUERS_FILE_BYTES_MAX} bytes"])
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError:
        raise IssuersFileError(["not valid UTF-8"]) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        # Its words may quote a single character of the file, and say where.
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise IssuersFileError([f"not valid TOML: {reason}"]) from None


def _issuers(document: Mapping[str, Any], problems: list[str]) -> Iterator[Issuer]:
    _report_unknown(document, ("issuers",), "", problems)
    tables = document.get("issuers")
    if not isinstance(tables, dict) or not tables:
        problems.append("no table [issuers.NAME]")
        return
    if len(tables) > ISSUERS_MAX:
        problems.append(f"more than {ISSUERS_MAX} issuers")
        return
    for name, table in tables.items():
        reader = _Table(name, problems)
        if isinstance(table, dict):
            issuer = reader.issuer(table)
            if issuer is not None:
                yield issuer
        else:
            reader.report("", "is no table")


def _report_unknown(
    table: Mapping[str, Any], known: Collection[str], place: str, problems: list[str]
) -> None:
    for key in table:
        if key not in known:
            from difflib import get_close_matches

            near = get_close_matches(key, known, n=1)
            hint = f", did you mean {near[0]}?" if near else f", known are {', '.join(known)}"
            problems.append(f"{place}{_shown(key)} is not known{hint}")


def _shown(name: str) -> str:
    """A name of the file, as far as it fits into a line."""
    return name[:64] if name.isprintable() else ascii(name)[:64]


class _Table:
    """Reads one issuer's table; what is wrong goes to `problems`, and reading goes on."""

    def __init__(self, name: str, problems: list[str]) -> None:
        self._name = _shown(name)
        self._problems = problems

    def report(self, member: str, problem: str) -> None:
        """Remember what is wrong with a member, or with the table."""
        self._problems.append(f"[issuers.{self._name}] {member}{': ' if member else ''}{problem}")

    def issuer(self, table: Mapping[str, Any]) -> Issuer | None:
        """The rules, or None when something is wrong with them."""
        before = len(self._problems)
        _report_unknown(table, _MEMBERS, f"[issuers.{self._name}] ", self._problems)
        url = self._url(table)
        claim, fixed = self._client(table.get("client_id", "client_id"))
        issuer = Issuer(
            name=self._name,
            url=url,
            keys_url=self._keys_url(table.get("keys"), url),
            algorithms=self._algorithms(table),
            client_claim=claim,
            client_fixed=fixed,
            audiences=self._texts("audiences", table.get("audiences", [])),
            sync=self._grant("sync", table.get("sync", _DEFAULT)),
            files=self._grant("files", table.get("files", _DEFAULT)),
            derived=self._derived(table.get("identity", "claims")),
        )
        if not issuer.sync.scopes and not issuer.sync.audiences:
            self.report("sync", "names no scope and no audience, so no token opens anything")
        if issuer.derived and not issuer.audiences:
            self.report("audiences", 'required with identity = "derived"')
        return issuer if len(self._problems) == before else None

    def _url(self, table: Mapping[str, Any]) -> str:
        value = table.get("issuer")
        if value is None:
            self.report("issuer", "is missing")
            return ""
        return normalize_issuer(self._checked_url("issuer", value, bare=True))

    def _checked_url(self, member: str, value: object, *, bare: bool = False) -> str:
        """An http or https URL without user info; `bare`: without query too."""
        if not isinstance(value, str):
            self.report(member, "is no text")
            return ""
        fault = _url_fault(value, bare=bare)
        if fault is not None:
            self.report(member, f"invalid URL: {fault}")
        return value

    def _keys_url(self, value: object, issuer: str) -> str | None:
        if value == "discovery":
            return None
        if value is None:
            return f"{issuer}/.well-known/jwks.json"
        return self._checked_url("keys", value)

    def _algorithms(self, table: Mapping[str, Any]) -> frozenset[str]:
        if "algorithms" not in table:
            return DEFAULT_ALGORITHMS
        names = self._texts("algorithms", table["algorithms"])
        unknown = names - ALGORITHMS.keys()
        if not names:
            self.report("algorithms", "names none")
        elif unknown:
            known = ", ".join(ALGORITHMS)
            self.report("algorithms", f"{', '.join(map(_shown, sorted(unknown)))}: known are {known}")
        return names

    def _client(self, value: object) -> tuple[ClientClaim, str]:
        if isinstance(value, str) and value in _CLIENT_CLAIMS:
            return _CLIENT_CLAIMS[value], ""
        if isinstance(value, dict) and value.keys() == {"fixed"} and _is_name(value["fixed"]):
            return "client_id", value["fixed"]
        self.report("client_id", 'expected "client_id", "azp" or { fixed = "NAME" }')
        return "client_id", ""

    def _grant(self, member: str, value: object) -> Grant:
        if value is _DEFAULT:
            return Grant(scopes=frozenset({member}))
        if not isinstance(value, dict):
            self.report(member, "expected { scopes = [...], audiences = [...] }")
            return Grant()
        _report_unknown(value, ("scopes", "audiences"), f"[issuers.{self._name}] {member}.", self._problems)
        return Grant(
            scopes=self._texts(f"{member}.scopes", value.get("scopes", [])),
            audiences=self._texts(f"{member}.audiences", value.get("audiences", [])),
        )

    def _texts(self, member: str, value: object) -> frozenset[str]:
        if isinstance(value, list) and len(value) <= _ITEMS_MAX and all(map(_is_name, value)):
            return frozenset(value)
        self.report(member, f"expected a list of at most {_ITEMS_MAX} texts, none of them empty")
        return frozenset()

    def _derived(self, value: object) -> bool:
        if value not in ("claims", "derived"):
            self.report("identity", 'expected "claims" or "derived"')
        return value == "derived"


def _is_name(value: object) -> bool:
    """A text that a claim may hold; TOML has no surrogates."""
    return isinstance(value, str) and 0 < len(value) <= _TEXT_CHARS_MAX and "\0" not in value


def _url_fault(url: str, *, bare: bool) -> str | None:
    """Why this is no URL to ask or to compare with, or None. Stricter than what `TRUSTED_ISSUERS` takes."""
    if _NO_URL_CHARS.search(url):
        return "has blanks, backslashes or control characters"
    try:
        parts = urlsplit(url)
    except ValueError:
        return "cannot be read"
    if "@" in parts.netloc:
        return "has a user or a password"
    if not parts.netloc:
        return "relative URL without a base" if not parts.scheme else "empty host"
    if "#" in url or (bare and "?" in url):
        return "has a query or a fragment" if bare else "has a fragment"
    return url_fault(url)
