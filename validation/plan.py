"""What a run is going to do: options, variables and manifest read together, before anything is contacted.

All that is wrong is told at once (docs/validation.md 4). A plan is data: it can be listed without a run.
"""

import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, get_args

from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.hooks import words_of
from less_sync.validation.inputs import Inputs, read_inputs
from less_sync.validation.manifest import (
    MANIFEST_BYTES_MAX,
    Declared,
    ManifestErrors,
    built_in,
    declared,
)
from less_sync.validation.matrix import Check, Manifest, ServerKind
from less_sync.validation.outcome import Broken, Outcome, Status
from less_sync.validation.policy import Change, compare, digest
from less_sync.validation.procedure import KINDS, LANES, Procedure
from less_sync.validation.rows import manifest_of

ON: Final = frozenset({"1", "true", "yes", "on"})
OFF: Final = frozenset({"0", "false", "no", "off"})
DEFAULT_KIND: Final = "selfhost"
REQUIRED_ADDRESSES: Final = ("STAGING_BASE_URL", "PROD_BASE_URL")
"""Without which no other kind than `selfhost` has anything to look at."""
_KINDS_OF_SERVERS: Final = get_args(ServerKind)
BACKUP_FIRST: Final = """which backup to judge by? Make one, then name it:
  less-sync backup /var/backups/less-sync
  less-sync validate --backup /var/backups/less-sync"""


class Problems(Exception):
    """Usage, manifest or environment is wrong; a text each. Nothing was run."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Wishes:
    """The options of a run."""

    kind: str | None = None
    manifest: Path | None = None
    stage: str = "before"
    mode: str | None = None
    lanes: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    """Given by options in place of the environment: `BACKUP_DIR`, `INCUMBENT_COMMAND`."""
    accept_policy: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that could begin."""

    manifest: Manifest
    declared: Declared
    inputs: Inputs
    stage: str
    baseline: bool
    selected: frozenset[str]
    """Ids of the checks that were chosen; all where none was."""
    narrowed: bool
    """Whether `--lane` or `--check` leaves any out."""
    off: frozenset[str]
    """Lanes that `RUN_...=0` switches off."""
    policy: str
    """Digest."""
    builtin_policy: str
    looser: Sequence[Change]
    tighter: Sequence[Change]
    accepted: bool
    """`--accept-policy` names the digest."""

    def preset(self, check: Check) -> Outcome | None:
        """What is decided about a check before it is tried."""
        if check.not_applicable:
            return Outcome(Status.SKIPPED, f"not-applicable:{check.not_applicable}")
        if check.id not in self.selected:
            return Outcome(Status.SKIPPED, "not-selected")
        if check.lane in self.off:
            return Outcome(Status.SKIPPED, "switched-off")
        return None


def plan(
    wishes: Wishes,
    environment: Mapping[str, str],
    *,
    catalogue: Mapping[str, Procedure] = CATALOGUE,
    built_in_text: Callable[[str], str] = built_in,
    secrets: bool = True,
    addresses: bool = True,
) -> Plan:
    """Read everything.

    Args:
        secrets: False: none is read, for commands that only show the matrix.
        addresses: whether what only a run needs must be there.

    Raises:
        Problems: all of them.
    """
    inputs, problems = read_inputs(environment, wishes.variables, secrets=secrets)
    problems += _unusable(inputs)
    baseline = _baseline(wishes.mode, environment.get("FAIL_ON_REQUIRED_FAILURE", ""), problems)
    off = _switched_off(environment, problems)
    mine = builtin = None
    try:
        mine, builtin = _declared(wishes, environment, catalogue, built_in_text)
    except ManifestErrors as errors:
        problems += errors.problems
    if mine is None or builtin is None:
        raise Problems(problems)
    kind = str(mine.raw["kind"])
    if addresses:
        problems += _missing(kind, inputs, environment, mine)
    manifest = None
    try:
        previous = inputs.value("INCUMBENT_COMMAND") is not None
        manifest = manifest_of(mine, stage=wishes.stage, inputs=inputs, previous=previous)
    except ManifestErrors as errors:
        problems += errors.problems
    selected = frozenset[str]()
    if manifest is not None:
        selected = _selected(wishes, manifest.checks, problems)
    if problems or manifest is None:
        raise Problems(problems)
    looser, tighter = compare(builtin, mine)
    policy = digest(mine)
    return Plan(
        manifest=manifest,
        declared=mine,
        inputs=inputs,
        stage=wishes.stage,
        baseline=baseline,
        selected=selected,
        narrowed=bool(wishes.lanes or wishes.checks),
        off=off,
        policy=policy,
        builtin_policy=digest(builtin),
        looser=looser,
        tighter=tighter,
        accepted=wishes.accept_policy == policy,
    )


def _declared(
    wishes: Wishes,
    environment: Mapping[str, str],
    catalogue: Mapping[str, Procedure],
    built_in_text: Callable[[str], str],
) -> tuple[Declared, Declared]:
    """The manifest of this run, and the built-in one of its kind."""
    if wishes.kind is not None and wishes.kind not in KINDS:
        raise ManifestErrors([f"--kind: there is no kind {wishes.kind!r}; there are {', '.join(KINDS)}"])
    if wishes.manifest is None:
        kind = wishes.kind or DEFAULT_KIND
        text, name = built_in_text(kind), f"{kind}.toml"
    else:
        text, name = _read(wishes.manifest), str(wishes.manifest)
    mine = declared(
        text, name, catalogue=catalogue, environment=environment, settings=wishes.settings, base=built_in_text
    )
    kind = str(mine.raw["kind"])
    if wishes.kind is not None and kind != wishes.kind:
        raise ManifestErrors([f"--kind {wishes.kind}: the manifest is of kind {kind}"])
    builtin = declared(
        built_in_text(kind), f"{kind}.toml", catalogue=catalogue, environment=environment, base=built_in_text
    )
    return mine, builtin


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MANIFEST_BYTES_MAX + 1)
    except OSError as error:
        raise ManifestErrors([f"cannot read {path}: {(error.strerror or str(error)).lower()}"]) from None
    if len(content) > MANIFEST_BYTES_MAX:
        raise ManifestErrors([f"{path} is longer than {MANIFEST_BYTES_MAX} bytes"])
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ManifestErrors([f"{path} is no UTF-8"]) from None


def _baseline(mode: str | None, text: str, problems: list[str]) -> bool:
    """Whether the result decides nothing. A word that is neither on nor off is a problem, not a default."""
    word = text.lower()
    if word and word not in ON | OFF:
        words = "1, true, yes, on nor 0, false, no, off"
        problems.append(f"FAIL_ON_REQUIRED_FAILURE: {text!r} is neither {words}")
        return False
    if mode is not None and word and (mode == "baseline") != (word in OFF):
        problems.append(f"--mode {mode} contradicts FAIL_ON_REQUIRED_FAILURE={text}")
    return mode == "baseline" if mode is not None else word in OFF and bool(word)


def _unusable(inputs: Inputs) -> list[str]:
    """Values that could only be found wrong when something is run with them."""
    problems = []
    for one in inputs.given.values():
        if one.name.endswith(("_COMMAND", "_HOOK")):
            try:
                words_of(one.text)
            except Broken:
                problems.append(f"{one.name}: {one.text!r} is no command: an open quote, or no word in it")
    kind = inputs.value("INCUMBENT_KIND")
    if kind not in _KINDS_OF_SERVERS:
        problems.append(f"INCUMBENT_KIND: {kind!r} is none of {', '.join(_KINDS_OF_SERVERS)}")
    return problems


def _switched_off(environment: Mapping[str, str], problems: list[str]) -> frozenset[str]:
    off = set[str]()
    for lane in LANES:
        text = environment.get(f"RUN_{lane.upper()}", "")
        if text.lower() in OFF and text:
            off.add(lane)
        elif text and text.lower() not in ON:
            problems.append(f"RUN_{lane.upper()}: {text!r} is neither 1 nor 0")
    return frozenset(off)


def _missing(kind: str, inputs: Inputs, environment: Mapping[str, str], mine: Declared) -> list[str]:
    """What a run of this kind cannot begin without."""
    if kind == "selfhost":
        strangers = sorted(
            name
            for name, value in environment.items()
            if value and re.fullmatch(r"STAGING_\w*BASE_URL", name)
        )
        if strangers:
            told = "kind selfhost starts its servers itself: did you mean --kind cutover?"
            return [f"{strangers[0]} is set, and {told}"]
        place = inputs.value("BACKUP_DIR")
        if place is None:
            return [BACKUP_FIRST]
        return [] if os.path.isdir(place) else [f"BACKUP_DIR: there is no folder {place}: {BACKUP_FIRST}"]
    targets = mine.raw.get("targets", {})
    given = {
        "STAGING_BASE_URL": targets.get("staging", {}).get("base_url"),
        "PROD_BASE_URL": targets.get("production", {}).get("base_url"),
    }
    return [
        f"{name} is not set: kind {kind} looks at a server there"
        for name in REQUIRED_ADDRESSES
        if inputs.value(name) is None and not given[name]
    ]


def _selected(wishes: Wishes, checks: Sequence[Check], problems: list[str]) -> frozenset[str]:
    """The checks that were asked for, with those that they need; a name that means none is a problem."""
    ids: Collection[str] = {check.id for check in checks}
    there = {check.lane for check in checks}
    problems += [
        f"--lane {lane}: no check of this matrix is in that lane"
        for lane in wishes.lanes
        if lane not in there
    ]
    problems += [
        f"--check {name}: there is no such check; see less-sync validate list"
        for name in wishes.checks
        if name not in ids
    ]
    if not wishes.lanes and not wishes.checks:
        return frozenset(ids)
    needs = {check.id: check.needs for check in checks}
    chosen = {check.id for check in checks if check.lane in wishes.lanes or check.id in wishes.checks}
    waiting = list(chosen)
    while waiting:
        for need in needs.get(waiting.pop(), ()):
            if need not in chosen:
                chosen.add(need)
                waiting.append(need)
    return frozenset(chosen)
