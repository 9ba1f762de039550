"""The matrix as data: one TOML file per kind of deployment, read, extended, overridden and found in order.

Five kinds are built in (`manifests/`). They share the rows of `matrix.toml`, of which each says by `kinds`
and `stages` where it has a row. All that is wrong with a manifest is told at once, with its lines; nothing
is contacted before that. Pure: the environment is an argument (docs/validation.md 4).
"""

import json
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from less_sync.validation.inputs import VARIABLES
from less_sync.validation.matrix import NO_TARGET, Check, Retry
from less_sync.validation.procedure import CUSTOM, KINDS, LANES, Looser, Place, Procedure, Value
from less_sync.validation.toml_lines import Path as KeyPath
from less_sync.validation.toml_lines import key_lines, line_of

FORMAT: Final = 1
BUILT_IN: Final = Path(__file__).parent / "manifests"
MANIFEST_BYTES_MAX: Final = 1024 * 1024
STEPS: Final = ("connect", "dns", "tls-handshake")

TARGETS: Final = {
    "staging": "STAGING_BASE_URL",
    "incumbent": "STAGING_INCUMBENT_BASE_URL",
    "production": "PROD_BASE_URL",
    "candidate": "PROD_CANDIDATE_BASE_URL",
}
"""The targets there are, with the variable that gives each its address."""

_ID: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_ID_CHARS_MAX: Final = 64
_DESCRIPTION_CHARS_MAX: Final = 120
_REFERENCE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_SECRET_NAME: Final = re.compile(r"KEY|SECRET|TOKEN|PASSWORD")

_TABLES: Final[dict[str, dict[str, type]]] = {
    "features": {},
    "references": {},
    "federation": {"domain": str, "peers": list},
    "rollback": {"acknowledged_losses": list},
    "metrics": {},
}
_TOP: Final[dict[str, type]] = {
    "format": int,
    "kind": str,
    "name": str,
    "title": str,
    "valid_for_s": int,
    "extends": str,
    "lanes": list,
    "targets": dict,
    "identities": dict,
    "checks": list,
    **dict.fromkeys(_TABLES, dict),
}
_TARGET_KEYS: Final[dict[str, type]] = {
    "base_url": str,
    "server": str,
    "writes": str,
    "connections_per_mailbox": int,
    "canonical_host": str,
    "scratch": bool,
    "optional": bool,
}
_CHECK_KEYS: Final[dict[str, type]] = {
    "id": str,
    "lane": str,
    "uses": str,
    "target": str,
    "required": bool,
    "stages": list,
    "kinds": list,
    "needs": list,
    "feature": str,
    "timeout_s": int,
    "retry": dict,
    "exclusive": list,
    "description": str,
    "with": dict,
}
_IDENTITY_KEYS: Final[dict[str, type]] = {"tokens": dict, "key": str, "production_space_exists": bool}


class ManifestErrors(Exception):
    """All that is wrong with a manifest, a line of text each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Declared:
    """A manifest as written, defaults filled in, before the environment decides what has a row."""

    raw: Mapping[str, Any]
    """The whole document: extended, overridden, plain references replaced."""
    checks: Sequence[Check]
    """All rows of its kind, whatever the stage."""
    overrides: tuple[tuple[str, str], ...] = ()
    """(dotted path, text) of `--set`."""


@dataclass(slots=True)
class _Reading:
    """What is known while one document is read."""

    name: str
    lines: dict[KeyPath, int]
    environment: Mapping[str, str]
    catalogue: Mapping[str, Procedure]
    base: Callable[[str], str]
    problems: list[str] = field(default_factory=list)

    def problem(self, path: KeyPath, text: str) -> None:
        self.problems.append(f"{self.name}:{line_of(self.lines, path)}: {text}")


def built_in(kind: str) -> str:
    """The text of a kind's file."""
    return (BUILT_IN / f"{kind}.toml").read_text()


def declared(
    text: str,
    name: str,
    *,
    catalogue: Mapping[str, Procedure],
    environment: Mapping[str, str],
    settings: Sequence[tuple[str, str]] = (),
    base: Callable[[str], str] = built_in,
) -> Declared:
    """Read a manifest.

    Args:
        name: what messages call the file.
        settings: (dotted path, text) that override its values, in order.
        base: gives the text of what it extends, by name.

    Raises:
        ManifestErrors: with every problem.
    """
    try:
        own = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ManifestErrors([f"{name}: {error}"]) from None
    reading = _Reading(name, key_lines(text), environment, catalogue, base)
    own_checks = own.get("checks", [])
    _typed(reading, own, _TOP, ())
    if reading.problems:
        raise ManifestErrors(reading.problems)
    document = _extended(own, reading)
    for path, value in settings:
        _set(document, path, value, reading)
    document = _replaced(document, reading, ())
    _check_tables(document, reading)
    checks = [
        check
        for index, row in enumerate(document.get("checks", []))
        if (check := _check(row, document, _path_of(row, own_checks, index), reading)) is not None
    ]
    _check_together(checks, reading)
    if reading.problems:
        raise ManifestErrors(reading.problems)
    kind = document["kind"]
    return Declared(document, [one for one in checks if not one.kinds or kind in one.kinds], tuple(settings))


def _extended(own: dict[str, Any], reading: _Reading) -> dict[str, Any]:
    """The document over the one that it extends: tables key by key, checks by their id."""
    base_name = own.get("extends")
    if base_name is None:
        return deepcopy(own)
    if base_name not in (*KINDS, "matrix"):
        reading.problem(("extends",), f"extends: {base_name!r} is not built in; there are {', '.join(KINDS)}")
        raise ManifestErrors(reading.problems)
    base = tomllib.loads(reading.base(base_name))
    if "extends" in base:
        base = _extended(base, reading)
    merged = deepcopy(base)
    for key, value in own.items():
        if key == "checks":
            merged["checks"] = _merged_checks(base.get("checks", []), value)
        elif key == "targets":
            merged["targets"] = base.get("targets", {}) | {
                name: base.get("targets", {}).get(name, {}) | one for name, one in value.items()
            }
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = base[key] | value
        elif key != "extends":
            merged[key] = value
    merged.pop("extends", None)
    return merged


def _merged_checks(base: list[Any], own: list[Any]) -> list[Any]:
    mine = {row.get("id"): row for row in own if isinstance(row, dict)}
    merged = [row | mine.pop(row["id"], {}) for row in base]
    return merged + [row for row in own if not isinstance(row, dict) or row.get("id") in mine]


def _path_of(row: Mapping[str, Any], own: list[Any], index: int) -> KeyPath:
    """Where a row stands in the operator's own text; the top of the file when it is built in."""
    for number, one in enumerate(own):
        if isinstance(one, dict) and one.get("id") == row.get("id"):
            return ("checks", number)
    return ()


def _set(document: dict[str, Any], path: str, text: str, reading: _Reading) -> None:
    """Override a value by its dotted path; a check's by its id: `checks.ID.required=false`."""
    try:
        value: Any = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    parts = path.split(".")
    place: Any = document
    for number, part in enumerate(parts[:-1]):
        if isinstance(place, list):
            place = next((one for one in place if isinstance(one, dict) and one.get("id") == part), None)
        elif isinstance(place, dict):
            place = place.setdefault(part, {})
        if not isinstance(place, dict | list):
            reading.problems.append(f"--set {path}: there is no {'.'.join(parts[: number + 1])}")
            return
    if not isinstance(place, dict):
        reading.problems.append(f"--set {path}: a check is named by its id and a key")
        return
    place[parts[-1]] = value


def _replaced(value: Any, reading: _Reading, path: KeyPath) -> Any:
    """`${NAME}` in every text: the variable's value, of a secret the reference as it stands."""
    if isinstance(value, dict):
        return {key: _replaced(one, reading, (*path, key)) for key, one in value.items()}
    if isinstance(value, list):
        return [_replaced(one, reading, (*path, number)) for number, one in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if is_secret(name):
            return match[0]
        text = reading.environment.get(name) or ""
        if not text and not (path[0] == "targets" and path[-1] == "base_url"):
            reading.problem(path, f"{'.'.join(map(str, path))}: {name} is not set")
        return text

    return _REFERENCE.sub(replaced, value)


def is_secret(name: str) -> bool:
    """Whether a variable's value is never written down."""
    variable = VARIABLES.get(name)
    return variable.secret if variable is not None else bool(_SECRET_NAME.search(name.upper()))


def _typed(reading: _Reading, table: Mapping[str, Any], keys: Mapping[str, type], path: KeyPath) -> None:
    for key, value in table.items():
        kind = keys.get(key)
        where = ".".join(map(str, (*path, key)))
        if kind is None:
            reading.problem((*path, key), f"{where}: there is no such key")
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            reading.problem((*path, key), f"{where}: must be {_WORDS[kind]}")


_WORDS: Final = {str: "text", int: "a whole number", bool: "true or false", list: "a list", dict: "a table"}


def _check_tables(document: Mapping[str, Any], reading: _Reading) -> None:
    """The tables beside the checks."""
    _typed(reading, document, _TOP, ())
    if document.get("format") != FORMAT:
        reading.problem(("format",), f"format: must be {FORMAT}")
    if document.get("kind") not in KINDS:
        reading.problem(("kind",), f"kind: must be one of {', '.join(KINDS)}")
    if not _ID.fullmatch(str(document.get("name", ""))):
        reading.problem(("name",), "name: must be of lower-case letters, digits and hyphens")
    for key in ("title", "valid_for_s"):
        if key not in document:
            reading.problem((), f"{key}: is missing")
    for lane in document.get("lanes", []):
        if lane not in LANES:
            reading.problem(("lanes",), f"lanes: there is no lane {lane!r}")
    for name in ("features", "references", "metrics"):
        wanted = bool if name == "features" else str
        for key, value in document.get(name, {}).items():
            if not isinstance(value, wanted):
                reading.problem((name, key), f"{name}.{key}: must be {_WORDS[wanted]}")
    for name in ("federation", "rollback"):
        _typed(reading, document.get(name, {}), _TABLES[name], (name,))
    for name, target in document.get("targets", {}).items():
        _check_target(name, target, reading)
    for name, identity in document.get("identities", {}).items():
        _typed(reading, identity, _IDENTITY_KEYS, ("identities", name))


def _check_target(name: str, target: Any, reading: _Reading) -> None:
    path: KeyPath = ("targets", name)
    if name not in TARGETS:
        reading.problem(path, f"targets.{name}: there is no such target; there are {', '.join(TARGETS)}")
        return
    if not isinstance(target, dict):
        reading.problem(path, f"targets.{name}: must be a table")
        return
    _typed(reading, target, _TARGET_KEYS, path)
    for key, words in (("server", ("less-sync", "rust", "go")), ("writes", ("none", "throwaway"))):
        if target.get(key, words[0]) not in words:
            reading.problem((*path, key), f"targets.{name}.{key}: must be one of {', '.join(words)}")


def _check(row: Any, document: Mapping[str, Any], path: KeyPath, reading: _Reading) -> Check | None:
    """One row with its defaults; None when something is wrong with it, which was told."""
    before = len(reading.problems)
    if not isinstance(row, dict):
        reading.problem(path, "checks: must be tables")
        return None
    name = row.get("id")

    def problem(key: str, text: str) -> None:
        reading.problem((*path, key), f"check {name}: {key}: {text}")

    for key, value in row.items():
        kind = _CHECK_KEYS.get(key)
        if kind is None:
            problem(key, "there is no such key")
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            problem(key, f"must be {_WORDS[kind]}")
    if not isinstance(name, str) or not _ID.fullmatch(name) or len(name) > _ID_CHARS_MAX:
        problem("id", f"must be at most {_ID_CHARS_MAX} lower-case letters, digits and hyphens")
    procedure = reading.catalogue.get(str(row.get("uses")))
    if procedure is None:
        problem("uses", f"there is no procedure {row.get('uses')!r}")
    if len(reading.problems) > before or procedure is None:
        return None
    if not path and row.get("target", NO_TARGET) in TARGETS.keys() - document.get("targets", {}).keys():
        return None  # a built-in row whose target this manifest does not have
    _check_words(row, procedure, document, problem)
    parameters = _parameters(row.get("with", {}), procedure, problem)
    retry = _retry(row.get("retry"), problem)
    if len(reading.problems) > before:
        return None
    return Check(
        id=row["id"],
        lane=row.get("lane", procedure.lane),
        procedure=procedure,
        target=row.get("target", NO_TARGET),
        required=row.get("required", True),
        parameters=parameters,
        timeout_s=row.get("timeout_s", procedure.timeout_s),
        description=row.get("description", procedure.description),
        exclusive=tuple(row.get("exclusive", procedure.exclusive)),
        needs=tuple(row.get("needs", ())),
        feature=row.get("feature", procedure.feature),
        stages=tuple(row.get("stages", ())),
        kinds=tuple(row.get("kinds", ())),
        retry=retry,
    )


Problem = Callable[[str, str], None]


def _check_words(
    row: Mapping[str, Any], procedure: Procedure, document: Mapping[str, Any], problem: Problem
) -> None:
    if row.get("lane", procedure.lane) not in (*LANES, CUSTOM):
        problem("lane", f"there is no lane {row['lane']!r}")
    target = row.get("target", NO_TARGET)
    if target != NO_TARGET and target not in document.get("targets", {}):
        problem("target", f"{target!r} is not declared under targets")
    for key, words in (("stages", ("before", "after")), ("kinds", KINDS)):
        for word in row.get(key, ()):
            if word not in words:
                problem(key, f"{word!r} is none of {', '.join(words)}")
    for key in ("needs", "exclusive"):
        if not all(isinstance(one, str) for one in row.get(key, ())):
            problem(key, "must be a list of texts")
    if not 1 <= row.get("timeout_s", procedure.timeout_s) <= 3600:
        problem("timeout_s", "must be 1 to 3600")
    description = row.get("description", procedure.description)
    if len(description) > _DESCRIPTION_CHARS_MAX or not description.isprintable():
        problem("description", f"must be at most {_DESCRIPTION_CHARS_MAX} printable characters")


def _parameters(given: Mapping[str, Any], procedure: Procedure, problem: Problem) -> dict[str, Value]:
    values: dict[str, Value] = {name: one.default for name, one in procedure.parameters.items()}
    for key, value in given.items():
        parameter = procedure.parameters.get(key)
        if parameter is None:
            problem("with", f"{procedure.name} has no parameter {key!r}")
            continue
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            value = tuple(value)
        elif isinstance(value, dict) and isinstance(parameter.default, tuple):
            value = tuple(f"{name}={json.dumps(one, sort_keys=True)}" for name, one in sorted(value.items()))
        if type(value) is not type(parameter.default):
            problem("with", f"{key} must be {_WORDS.get(type(parameter.default), 'a list of texts')}")
        elif isinstance(value, int) and value < 0:
            problem("with", f"{key} must not be negative")
        else:
            values[key] = value
    return values


def _retry(given: Any, problem: Problem) -> Retry | None:
    if given is None:
        return None
    times, on, pause_s = given.get("times", 1), given.get("on", []), given.get("pause_s", 0)
    wrong = set(given) - {"times", "on", "pause_s"}
    if wrong or not isinstance(times, int) or not 1 <= times <= 3:
        problem("retry", "times must be 1 to 3, and beside it there are `on` and `pause_s` alone")
    elif not isinstance(pause_s, int) or not 0 <= pause_s <= 30:
        problem("retry", "pause_s must be 0 to 30")
    elif not isinstance(on, list) or not on or not set(on) <= set(STEPS):
        problem("retry", f"on must name some of {', '.join(STEPS)}")
    else:
        return Retry(times, tuple(on), pause_s)
    return None


def _check_together(checks: Sequence[Check], reading: _Reading) -> None:
    """Ids are unique, needs are there and lead nowhere back."""
    seen: set[str] = set()
    for check in checks:
        if check.id in seen:
            reading.problems.append(f"{reading.name}: check {check.id}: its id is taken")
        seen.add(check.id)
    if len(seen) < len(checks):
        return
    needs = _waits(checks)
    places = {check.id: check.procedure.place for check in checks}
    for check in checks:
        for need in check.needs:
            if need not in places:
                reading.problems.append(f"{reading.name}: check {check.id}: needs {need}, which there is not")
            elif places[need] in (Place.WINDOW, Place.LAST, Place.TIDY):
                reading.problems.append(f"{reading.name}: check {check.id}: needs {need}, which ends last")
    done: set[str] = set()
    for start in needs:
        trail: list[str] = []
        _walk(start, needs, done, trail, reading)


def _waits(checks: Sequence[Check]) -> dict[str, tuple[str, ...]]:
    """For which checks each one waits: those that it needs, and the one before it in its lane."""
    waits: dict[str, tuple[str, ...]] = {}
    last: dict[str, str] = {}
    for check in checks:
        before: tuple[str, ...] = ()
        if check.procedure.place is Place.IN_TURN:
            before = (last[check.lane],) if check.lane in last else ()
            last[check.lane] = check.id
        waits[check.id] = (*check.needs, *before)
    return waits


def _walk(
    name: str, needs: Mapping[str, Sequence[str]], done: set[str], trail: list[str], reading: _Reading
) -> None:
    if name in trail:
        reading.problems.append(f"{reading.name}: checks wait for each other: {' -> '.join([*trail, name])}")
        done.update(trail)
        return
    if name in done:
        return
    trail.append(name)
    for need in needs.get(name, ()):
        _walk(need, needs, done, trail, reading)
    trail.pop()
    done.add(name)


__all__ = ["BUILT_IN", "TARGETS", "Declared", "Looser", "ManifestErrors", "built_in", "declared", "is_secret"]
