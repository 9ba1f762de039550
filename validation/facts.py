"""From what a run found to what its report is made of (`results.Results`).

Where an operator's paths stand, a report has their last part alone: it is to be committed, and says nothing
of the machine.
"""

import hashlib
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from less_sync.validation.attempt import Row
from less_sync.validation.context import Run
from less_sync.validation.decision import Decision
from less_sync.validation.inputs import VARIABLES, Inputs
from less_sync.validation.matrix import Manifest
from less_sync.validation.plan import Plan
from less_sync.validation.repository import GitFault, Repository
from less_sync.validation.results import (
    SECRET_VALUE,
    Backup,
    Candidate,
    Incumbent,
    InputFact,
    LeftBehind,
    Policy,
    Reference,
    Results,
    Rollback,
    RunFacts,
    Schema,
    Seen,
    Subject,
    time_text,
)
from less_sync.validation.tools import Tools

_PATH: Final = re.compile(r"(?<![\w:/.])(?:/[\w.+@%~-]+)+/?")


@dataclass(frozen=True, slots=True)
class When:
    """A run's beginning and end, UTC."""

    started_at: datetime
    finished_at: datetime


def results_of(
    plan: Plan,
    run_id: bytes,
    run: Run | None,
    rows: Sequence[Row],
    decision: Decision,
    *,
    fingerprints: Mapping[str, Seen],
    jobs: int,
    when: When,
    tools: Tools,
) -> Results:
    """Everything of the report but its evidence.

    Args:
        run: None: it was interrupted before there was anything to look at.
    """
    run_facts = {} if run is None else run.facts
    manifest = plan.manifest
    return Results(
        name=manifest.name,
        title=manifest.title,
        kind=manifest.kind,
        stage="after" if plan.stage == "after" else "before",
        mode="baseline" if plan.baseline else "gate",
        decision=decision.word,
        would_be=decision.would_be,
        overall=decision.overall,
        decision_reasons=decision.reasons,
        policy=Policy(
            plan.policy, plan.builtin_policy, plan.accepted, tuple(plan.looser), tuple(plan.tighter)
        ),
        subject=_subject(plan.inputs, run_facts, fingerprints, tools),
        inputs=inputs_of(plan.inputs),
        overrides=tuple(
            InputFact(f"--set {path}", "option", shown(value)) for path, value in plan.declared.overrides
        ),
        references=_references(manifest),
        left_behind=() if run is None else _left_behind(run),
        rollback=_rollback(plan.inputs, run_facts, manifest),
        run=RunFacts(
            id=run_id.hex(),
            jobs=jobs,
            started_at=time_text(when.started_at),
            finished_at=time_text(when.finished_at),
            tool_version=tools.version,
            python=platform.python_version(),
            platform=f"{platform.system().lower()}-{platform.machine()}",
        ),
        checks=tuple(rows),
    )


def inputs_of(inputs: Inputs) -> tuple[InputFact, ...]:
    """Every variable that a run reads, those that are not set too."""
    facts = []
    for name, variable in VARIABLES.items():
        given = inputs.given.get(name)
        if given is None:
            facts.append(InputFact(name, "default", variable.default))
        else:
            facts.append(InputFact(name, given.source, SECRET_VALUE if given.secret else shown(given.text)))
    return tuple(facts)


def shown(text: str) -> str:
    """A text whose absolute paths are cut to their last part."""
    return _PATH.sub(lambda match: f".../{Path(match[0]).name}", text)


def _left_behind(run: Run) -> tuple[LeftBehind, ...]:
    return tuple(
        LeftBehind(target, made.kind, made.id, made.person, made.space) for target, made in run.left_behind
    )


def _subject(
    inputs: Inputs, facts: Mapping[str, object], fingerprints: Mapping[str, Seen], tools: Tools
) -> Subject:
    schema: dict[str, Schema] = {
        name: seen.start.schema for name, seen in fingerprints.items() if seen.start.schema.versions
    }
    backup = facts.get("backup")
    return Subject(
        candidate=Candidate(
            version=inputs.value("CANDIDATE_VERSION") or tools.version,
            commit=commit_of(Path.cwd(), tools.environment),
            image=inputs.value("CANDIDATE_IMAGE") or "",
        ),
        incumbent=Incumbent(
            kind=inputs.value("INCUMBENT_KIND") or "" if inputs.value("INCUMBENT_COMMAND") else "",
            image=inputs.value("INCUMBENT_IMAGE") or "",
        ),
        schema=schema,
        fingerprints=fingerprints,
        backup=backup if isinstance(backup, Backup) else None,
    )


def commit_of(folder: Path, environment: Mapping[str, str]) -> str:
    """The commit at HEAD of the work tree that this installation is run from; empty outside of one."""
    try:
        repository = Repository.around(folder, environment)
        # Not that of a work tree in which an operator keeps reports.
        ours = (repository.root / "less_sync" / "validation").exists()
        return repository.head() if ours else ""
    except GitFault:
        return ""


def _references(manifest: Manifest) -> tuple[Reference, ...]:
    """Files that the manifest names; without a digest where one cannot be read: `references` judges that."""
    found = []
    for name, path in sorted(manifest.references.items()):
        try:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        except OSError:
            digest = ""
        found.append(Reference(name, shown(path), digest))
    return tuple(found)


def _rollback(inputs: Inputs, facts: Mapping[str, object], manifest: Manifest) -> Rollback:
    match facts.get("rollback"):
        case (str(words), str(image), int(status)):  # as the dry run of the way back has it
            return Rollback(
                command=shown(words),
                target_image=image,
                dry_run_status=status,
                references=_references(manifest),
                acknowledged_losses=manifest.acknowledged_losses,
            )
        case _:
            pass
    return Rollback(
        command=shown(inputs.value("ROLLBACK_COMMAND") or inputs.value("INCUMBENT_COMMAND") or ""),
        references=_references(manifest),
        acknowledged_losses=manifest.acknowledged_losses,
    )
