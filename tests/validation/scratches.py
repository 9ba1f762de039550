"""Scratch for tests: this checkout's commands on a Postgres of their own, and a backup to judge by."""

import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from less_sync.bins.postgres.private import private_postgres
from less_sync.bins.postgres.urls import driver_url
from less_sync.validation.attempt import Row, attempted
from less_sync.validation.context import Context, Run
from less_sync.validation.generated import Stream
from less_sync.validation.holdings import write_through
from less_sync.validation.inputs import Input, Inputs
from less_sync.validation.matrix import NO_TARGET, Manifest
from less_sync.validation.outcome import Outcome
from less_sync.validation.people import People
from less_sync.validation.procedure import Procedure, Value
from less_sync.validation.redact import Redactor
from less_sync.validation.scratch import Copy, Scratch, ScratchPlan
from less_sync.validation.targets import Target
from less_sync.validation.tools import Tools
from tests.validation.rig import check_of, procedure_named

QUICK_NOT_SAFE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
LESS_SYNC = (sys.executable, "-m", "less_sync.bins.commands.main")
"""The words that run this checkout's command."""
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}


def postgres(folder: Path) -> AbstractAsyncContextManager[str]:
    """A private one that does not sync."""
    return private_postgres(folder, QUICK_NOT_SAFE)


def tools(folder: Path, less_sync: Sequence[str] = LESS_SYNC) -> Tools:
    """Of this checkout, or of another release."""
    return Tools(less_sync, "0.0.0", postgres, folder, driver_url, ENVIRONMENT)


def plan(
    folder: Path,
    *,
    less_sync: Sequence[str] = LESS_SYNC,
    candidate: Sequence[str] | None = None,
    run_id: bytes | None = None,
    **changes: Any,
) -> ScratchPlan:
    """A plan whose folders lie in `folder`."""
    made = ScratchPlan(
        tools(folder, less_sync),
        os.urandom(16) if run_id is None else run_id,
        candidate=(*less_sync, "serve") if candidate is None else candidate,
        features={"files": True, "federation": False, "rate_limits": True},
        parent=folder,
    )
    return replace(made, **changes)


def run_of(
    scratch: Scratch,
    *,
    kind: str = "selfhost",
    stage: str = "before",
    targets: Mapping[str, Target] = {},
    inputs: Mapping[str, str] = {},
    people: People | None = None,
    environment: Mapping[str, str] = ENVIRONMENT,
    **manifest: Any,
) -> Run:
    """What the checks of a run share that has this scratch."""
    plain = Manifest(
        kind=kind,
        name="scratch",
        title="Tests of scratch",
        valid_for_s=14_400,
        lanes=(),
        features={"files": True, "federation": False, "rate_limits": True},
        references={},
        targets={name: one.spec for name, one in targets.items()},
        identities={},
        metrics={},
        acknowledged_losses=(),
        one_image=False,
        checks=(),
    )
    return Run(
        id=scratch.plan.run_id,
        kind=kind,
        stage=stage,
        manifest=replace(plain, **manifest),
        inputs=Inputs({name: Input(name, "env", text) for name, text in inputs.items()}, environment),
        redactor=Redactor(),
        scratch=scratch,
        people=People({}, {}) if people is None else people,
        targets=targets,
    )


async def row(
    run: Run,
    name: str | Procedure,
    *,
    target: str = NO_TARGET,
    parameters: Mapping[str, Value] = {},
    timeout_s: int | None = None,
) -> Row:
    """Run one check and judge it."""
    procedure = name if isinstance(name, Procedure) else procedure_named(name)
    check = check_of(procedure, target, parameters)
    return await attempted(check if timeout_s is None else replace(check, timeout_s=timeout_s), run)


async def outcome(run: Run, name: str | Procedure, **arguments: Any) -> Outcome:
    """As `row`: its status and reason."""
    return (await row(run, name, **arguments)).outcome


def context_of(run: Run) -> Context:
    """To do what checks do, outside of one."""
    procedure = procedure_named("command")
    return Context(check_of(procedure, NO_TARGET), run, Stream(run.id, "tests"))


@asynccontextmanager
async def living(scratch: Scratch, people: int = 6) -> AsyncIterator[Copy]:
    """A database and a store with what some people wrote through a real server."""
    run = run_of(scratch)
    context = context_of(run)
    async with scratch.empty() as copy:
        async with scratch.candidate(copy, context.say) as server:
            for number in range(people):
                person = scratch.person(f"somebody {number}")
                await write_through(
                    context, server.target, person, records=5 + number, files=1, members=number % 2
                )
        yield copy


async def backed_up(scratch: Scratch, copy: Copy, folder: Path) -> None:
    """Take a backup of it with the real command."""
    ran = await scratch.less_sync(
        ("backup", str(folder)), copy.url, scratch.store_variables(copy.files), print
    )
    assert ran.status == 0, ran.errors
