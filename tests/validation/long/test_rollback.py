"""The way back: a fault of a hook, a paper, a list or a server turns the row red that looks for it."""

import asyncio
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from less_sync.bins.backup.manifest import DatabaseEntry, read_manifest
from less_sync.bins.postgres.urls import driver_url
from less_sync.migrations import Loss, losses
from less_sync.validation.attest import SigningKey
from less_sync.validation.index import INDEX, index_line
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.redact import Redactor
from less_sync.validation.report import Report
from less_sync.validation.repository import Repository
from less_sync.validation.scratch import Scratch
from less_sync.validation.verify import Verdict, Wanted, verify
from tests.integration.waiting import until
from tests.validation.hook import IMAGE, PLAIN
from tests.validation.long.conftest import Newer
from tests.validation.long.test_backup import production, resealed
from tests.validation.reports import MOMENT, results
from tests.validation.reports import row as finished
from tests.validation.rig import Rig
from tests.validation.scratches import ENVIRONMENT, LESS_SYNC, outcome, plan, row, run_of

FAULTED: Final = frozenset(
    {
        *("references", "incumbent-opens", "no-loss", "rollback-dry-run", "canary-status", "drill"),
        *("prior-go", "incumbent-idle", "losses"),
    }
)
"""Procedures that have a fault here."""
HOOK: Final = Path(__file__).parent.parent / "hook.py"


def failed(reason: str) -> Outcome:
    return Outcome(Status.FAILED, reason)


def blocked(reason: str) -> Outcome:
    return Outcome(Status.BLOCKED, reason)


@dataclass(frozen=True, slots=True)
class Hook:
    """A hook and what it is told to do wrong."""

    state: Path

    @property
    def command(self) -> str:
        return shlex.join([sys.executable, "-I", str(HOOK), str(self.state)])

    def now(self) -> dict[str, Any]:
        return dict(json.loads(self.state.read_text()))

    def set(self, **changes: Any) -> None:
        self.state.write_text(json.dumps(self.now() | changes))


@pytest.fixture
def hook(tmp_path: Path) -> Hook:
    """One that does what it should, with production all on the stable side."""
    made = Hook(tmp_path / "weights.json")
    made.state.write_text(json.dumps(PLAIN))
    return made


# Papers.


def git(folder: Path, *words: str) -> None:
    who = [f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")]
    environment = ENVIRONMENT | dict.fromkeys(who, "tests@tests.invalid")
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True, env=environment)


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    """A work tree with what the manifest refers to."""
    folder = tmp_path / "tree"
    folder.mkdir()
    git(folder, "init", "--quiet")
    for name in ("rollback.md", "migrations.md"):
        (folder / name).write_text(f"# {name}\n")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "papers")
    return folder


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("none", "-"),
        ("not-named", "not-named:rollback"),
        ("removed", "no-file:rollback"),
        ("emptied", "empty:rollback"),
        ("edited", "not-committed:rollback"),
        ("new", "not-committed:more"),
    ],
)
async def test_papers_for_the_way_back_are_there_committed_and_not_empty(
    papers: Path, tmp_path: Path, fault: str, reason: str
) -> None:
    named = {"rollback": str(papers / "rollback.md"), "migrations": str(papers / "migrations.md")}
    paper = papers / "rollback.md"
    if fault == "not-named":
        del named["rollback"]
    elif fault == "removed":
        paper.unlink()
    elif fault == "emptied":
        paper.write_text(" \n")
    elif fault == "edited":
        paper.write_text("# another\n")
    elif fault == "new":
        (papers / "more.md").write_text("# more\n")
        named["more"] = str(papers / "more.md")
    run = run_of(Scratch(plan(tmp_path)), references=named)
    assert await outcome(run, "references") == (PASSED if reason == "-" else failed(reason))
    assert await outcome(run, "losses") == PASSED


async def test_papers_outside_of_any_work_tree_are_not_committed(tmp_path: Path) -> None:
    (tmp_path / "rollback.md").write_text("# x\n")
    run = run_of(Scratch(plan(tmp_path)), references={"rollback": str(tmp_path / "rollback.md")})
    assert await outcome(run, "references") == failed("not-committed:rollback")


# Losses.


async def test_what_our_own_migrations_lose_is_nothing(tmp_path: Path) -> None:
    passed = await row(run_of(Scratch(plan(tmp_path))), "losses")
    assert (passed.outcome, passed.measured.shown["reverted"]) == (PASSED, 6)


async def test_a_loss_has_to_be_listed_and_acknowledged_by_its_name(papers: Path, tmp_path: Path) -> None:
    named = {"rollback": str(papers / "rollback.md"), "migrations": str(papers / "migrations.md")}
    listed = {**losses(), 107: Loss(107, "letters", "loses letters")}

    async def seen(versions: Sequence[int], *acknowledged: str, back_to: int = 12) -> Outcome:
        scratch = Scratch(plan(tmp_path, losses=listed, versions=versions))
        run = run_of(scratch, acknowledged_losses=acknowledged, references=named)
        assert await outcome(run, "references") == PASSED
        return await outcome(run, "losses", parameters={"back_to": back_to})

    assert await seen((*listed, 108), "letters") == failed("unlisted:108")
    assert await seen(tuple(listed)) == failed("unacknowledged:letters")
    assert await seen(tuple(listed), "letters") == PASSED
    assert await seen(tuple(listed), "letters", "x") == failed("no-such-loss:x")
    further = await seen(tuple(listed), "letters", back_to=10)
    assert further == failed("unacknowledged:deactivated-federation-keys")


# Hooks.


HOOK_FAULTS: Final[list[tuple[str, str, dict[str, Any], Outcome]]] = [
    ("rollback-dry-run", "none", {}, PASSED),
    ("rollback-dry-run", "another-image", {"image": "sha256:" + "cd" * 32}, failed("other-image")),
    ("rollback-dry-run", "acts-in-dry-run", {"acts_in_dry_run": True}, failed("dry-run-acted")),
    ("rollback-dry-run", "fails", {"exit": 3}, failed("exit:3")),
    ("canary-status", "none", {}, PASSED),
    ("canary-status", "weight-5", {"percent": 5}, failed("weight")),
    ("canary-status", "weight-105", {"percent": 105}, failed("status-shape")),
    ("canary-status", "weight-true", {"percent": True}, failed("status-shape")),
    ("canary-status", "no-json", {"prints": "5 %"}, failed("not-json")),
    ("canary-status", "no-object", {"prints": "[]"}, failed("status-shape")),
]


ALSO: Final[Mapping[str, Outcome]] = {
    **dict.fromkeys(("weight-105", "weight-true", "no-object"), failed("status-shape")),
    "no-json": failed("not-json"),
}
"""What becomes of the other one: both read the hook's status, and both can only read a whole one."""


@pytest.mark.parametrize(
    ("procedure", "fault", "changes", "wanted"),
    HOOK_FAULTS,
    ids=[f"{procedure}-{fault}" for procedure, fault, *_ in HOOK_FAULTS],
)
async def test_a_hook_that_does_something_else_turns_its_row_red(
    rig: Rig, hook: Hook, procedure: str, fault: str, changes: dict[str, Any], wanted: Outcome
) -> None:
    hook.set(**changes)
    inputs = {"CANARY_HOOK": hook.command, "INCUMBENT_IMAGE": IMAGE}
    assert await rig.outcome(procedure, target="none", inputs=inputs) == wanted
    calls = hook.now()["calls"]
    others = {}
    for other in {"rollback-dry-run", "canary-status"} - {procedure}:
        hook.state.write_text(json.dumps(PLAIN | changes))
        others[other] = await rig.outcome(other, target="none", inputs=inputs)
    assert others == {other: ALSO.get(fault, PASSED) for other in others}
    if procedure == "rollback-dry-run":
        assert calls == ["status", "rollback old-1 --dry-run", "status"]
    else:
        assert calls == ["status"]


async def test_a_command_for_the_way_back_is_run_dry_in_place_of_the_hooks(rig: Rig, hook: Hook) -> None:
    own = Hook(hook.state.with_name("own.json"))
    own.state.write_text(json.dumps(PLAIN))
    inputs = {"ROLLBACK_COMMAND": f"{own.command} rollback old-1", "INCUMBENT_IMAGE": IMAGE}
    assert await rig.outcome("rollback-dry-run", target="none", inputs=inputs) == PASSED
    assert own.now()["calls"] == ["rollback old-1 --dry-run"]
    own.set(acts_in_dry_run=True)
    # It moved the weights of the other one: a script that ignores the option, seen by what it did.
    moves = {"CANARY_HOOK": own.command} | inputs
    assert await rig.outcome("rollback-dry-run", target="none", inputs=moves) == failed("dry-run-acted")


async def test_without_a_command_or_an_image_there_is_nothing_to_compare(rig: Rig) -> None:
    seen = await rig.outcome("rollback-dry-run", target="none", inputs={"INCUMBENT_IMAGE": IMAGE})
    assert seen == blocked("input:ROLLBACK_COMMAND")
    assert await rig.outcome("rollback-dry-run", target="none") == blocked("input:INCUMBENT_IMAGE")


async def test_after_the_switch_all_weight_has_to_be_the_candidates(rig: Rig, hook: Hook) -> None:
    inputs = {"CANARY_HOOK": hook.command}
    assert await rig.outcome("canary-status", target="none", stage="after", inputs=inputs) == failed("weight")
    hook.set(percent=100)
    assert await rig.outcome("canary-status", target="none", stage="after", inputs=inputs) == PASSED


async def test_without_a_hook_the_server_itself_tells_the_stage(rig: Rig) -> None:
    kinds = {"INCUMBENT_KIND": "rust"}
    assert await rig.outcome("canary-status", target="none", inputs=kinds) == failed("server:less-sync")
    assert await rig.outcome("canary-status", target="none", stage="after", inputs=kinds) == PASSED
    own = {"INCUMBENT_KIND": "less-sync", "CANDIDATE_VERSION": "9.9.9"}
    assert await rig.outcome("canary-status", target="none", inputs=own) == PASSED
    assert await rig.outcome("canary-status", target="none", stage="after", inputs=own) == failed("build")


# The drill.


async def others_of(rig: Rig, hook: Hook) -> dict[str, Outcome]:
    """What became of the other rows that ask the hook, of those that did not pass."""
    inputs = {"CANARY_HOOK": hook.command, "INCUMBENT_IMAGE": IMAGE}
    names = ("rollback-dry-run", "canary-status")
    seen = {name: await rig.outcome(name, target="none", inputs=inputs) for name in names}
    return {name: one for name, one in seen.items() if one != PASSED}


async def test_staging_is_switched_over_and_back(rig: Rig, hook: Hook) -> None:
    inputs = {"STAGING_CANARY_HOOK": hook.command}
    passed = await rig.row("drill", inputs=inputs)
    assert passed.outcome == PASSED
    assert hook.now()["percent"] == 0
    moves = [call for call in hook.now()["calls"] if call != "status"]
    assert moves == ["set-weight old-1 new-2 100", "rollback old-1"]


async def test_a_way_back_that_takes_too_long_is_ended_and_the_weight_taken_back(
    rig: Rig, hook: Hook
) -> None:
    hook.set(rollback_s=1.5)
    inputs = {"STAGING_CANARY_HOOK": hook.command}
    seen = await rig.outcome("drill", inputs=inputs, parameters={"limit_s": 1})
    assert seen == failed("deadline")
    assert hook.now()["percent"] == 0
    assert await others_of(rig, hook) == {}


async def test_a_hook_that_fails_or_lies_leaves_no_weight_behind(rig: Rig, hook: Hook) -> None:
    hook.set(exit=4)
    inputs = {"STAGING_CANARY_HOOK": hook.command}
    assert await rig.outcome("drill", inputs=inputs) == failed("hook:4")
    assert hook.now()["percent"] == 0
    # Who is run dry ends as badly.
    assert await others_of(rig, hook) == {"rollback-dry-run": failed("exit:4")}
    assert await rig.outcome("drill") == blocked("input:STAGING_CANARY_HOOK")


async def test_a_drill_that_is_interrupted_takes_the_weight_back(rig: Rig, hook: Hook) -> None:
    hook.set(rollback_s=0.5)
    task = asyncio.create_task(rig.outcome("drill", inputs={"STAGING_CANARY_HOOK": hook.command}))

    async def moved() -> bool:
        return any(call.startswith("set-weight") for call in hook.now()["calls"])

    await until(moved)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert hook.now()["percent"] == 0


async def test_data_that_a_way_back_loses_is_missed(rig: Rig, hook: Hook, tmp_path: Path) -> None:
    run = rig.run(inputs={"STAGING_CANARY_HOOK": hook.command})
    space = await run.people.person("staging", "owner").personal_space()
    url = driver_url(rig.server().database_url)
    loses = tmp_path / "loses.py"
    loses.write_text(
        "import asyncio, asyncpg, subprocess, sys\n"
        "async def lose():\n"
        f"    connection = await asyncpg.connect({url!r})\n"
        '    await connection.execute("DELETE FROM records WHERE ctid IN (SELECT ctid FROM records"\n'
        f"        \" WHERE space_id = '{space}' AND NOT deleted AND blob = ''\"\n"
        '        " AND NOT EXISTS (SELECT FROM files f WHERE f.record_id = records.id) LIMIT 1)")\n'
        "    await connection.close()\n"
        "if 'rollback' in sys.argv: asyncio.run(lose())\n"
        f"hook = {[sys.executable, '-I', str(HOOK), str(hook.state)]!r}\n"
        "sys.exit(subprocess.run(hook + sys.argv[1:]).returncode)\n"
    )
    run.inputs.given["STAGING_CANARY_HOOK"] = replace(
        run.inputs.given["STAGING_CANARY_HOOK"], text=shlex.join([sys.executable, str(loses)])
    )
    assert await rig.outcome("drill", run=run) == failed("missing")
    assert await others_of(rig, hook) == {}


# The end of the incumbent.


SHORT: Final = {"watch_s": 1, "every_ms": 200}


async def test_nobody_is_served_by_the_incumbent_any_more(rig: Rig, hook: Hook) -> None:
    hook.set(percent=100, connections=0)
    inputs = {"CANARY_HOOK": hook.command, "DATABASE_ROLE": "candidate"}

    async def seen(**parameters: Any) -> Outcome:
        stage = await rig.outcome("canary-status", target="none", stage="after", inputs=inputs)
        # Both look at the weight.
        assert stage == (PASSED if hook.now()["percent"] == 100 else failed("weight"))
        return await rig.outcome(
            "incumbent-idle", target="production", inputs=inputs, parameters=SHORT | parameters
        )

    assert await seen(application_name="old-server") == PASSED
    hook.set(connections=1)
    assert await seen(application_name="old-server") == failed("connections")
    hook.set(connections=0, percent=99)
    assert await seen(application_name="old-server") == failed("weight")
    hook.set(percent=100)
    settings = {"application_name": "old-server"}
    one = await asyncpg.connect(driver_url(rig.server("production").database_url), server_settings=settings)
    try:
        assert await seen(application_name="old-server") == failed("sessions")
    finally:
        await one.close()
    assert await seen() == blocked("input:role")
    assert await seen(role="candidate") == blocked("input:role")
    assert await seen(role="nobody-has-this-role") == PASSED


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    """A work tree for reports."""
    folder = tmp_path / "reports"
    folder.mkdir()
    git(folder, "init", "--quiet")
    return folder


def reported(tree: Path, stage: str) -> Path:
    """A report of a cutover, signed and committed."""
    rows = (finished("one"), finished("two"))
    made = replace(results(rows), name="small", kind="cutover", stage=stage)  # type: ignore[arg-type]  # a word
    place = tree / "docs/reports/small"
    report = Report.create(place, MOMENT, redactor=Redactor(), run_id=made.run.id)
    report.manifest("valid_for_s = 14400\n")
    for one in rows:
        report.append(one)
    done = report.finish(made, lambda: SigningKey(bytes(32)))
    line = index_line(done.document, done.folder.name, done.report_digest, done.keyid)
    (place / INDEX).write_bytes(line)
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message", stage)
    return done.folder


def verifier(folder: Path, kind: str, stage: str) -> Verdict:
    """As the command makes it, with the key of the tests and their moment."""
    key = SigningKey(bytes(32))
    wanted = Wanted(
        trusted={key.keyid: key.public},
        builtin_policy=lambda _kind: "12" * 32,
        now=MOMENT + timedelta(minutes=30),
        kind=kind,
        stage=stage,
        repository=lambda folder: Repository.around(folder, ENVIRONMENT),
    )
    return verify(folder, wanted)


@pytest.mark.parametrize(
    ("stage", "edit", "wanted"),
    [
        ("after", False, PASSED),
        ("before", False, failed("demand:stage")),
        ("after", True, failed("demand:files")),
    ],
)
async def test_only_a_go_of_after_the_switch_ends_the_incumbent(
    reports: Path, tmp_path: Path, stage: str, edit: bool, wanted: Outcome
) -> None:
    folder = reported(reports, stage)
    if edit:
        (folder / "SUMMARY.md").write_text("GO\n")
    run = run_of(Scratch(plan(tmp_path)), kind="decommission")
    run.verifier = verifier
    assert await outcome(run, "prior-go", parameters={"report": str(folder)}) == wanted
    assert await outcome(run, "losses") == PASSED
    assert await outcome(run, "prior-go") == blocked("input:report")


async def test_a_backup_has_to_begin_after_the_switch(
    made_backup: Path, reports: Path, tmp_path: Path, database_url: str
) -> None:
    backup = Path(shutil.copytree(made_backup, tmp_path / "backup"))
    was = read_manifest(backup).database
    name = database_url.rpartition("?")[0].rpartition("/")[2]
    resealed(backup, database=DatabaseEntry(was.system_identifier, name, was.server_version_num))
    targets = production(database_url)
    run = run_of(Scratch(plan(tmp_path, backup=backup)), kind="decommission", targets=targets)
    after = {"report": str(reported(reports, "after"))}
    assert await outcome(run, "backup-fresh", parameters=after) == PASSED
    assert await outcome(run, "backup-fresh") == blocked("input:report")
    assert await outcome(run, "backup-fresh", parameters={"report": str(tmp_path)}) == failed("report")
    resealed(backup, created_at="2026-05-04T03:00:00Z")  # the report ended four minutes later
    assert await outcome(run, "backup-fresh", parameters=after) == failed("before-the-switch")
    run.verifier = verifier
    assert await outcome(run, "prior-go", parameters=after) == PASSED


# The rehearsal.


def changing(folder: Path) -> tuple[str, ...]:
    """A server that first does to its database what the file `change.sql` says, once there are tables."""
    script = folder / "changing.py"
    script.write_text(
        "import asyncio, asyncpg, os, pathlib\n"
        "async def change():\n"
        "    connection = await asyncpg.connect(os.environ['DATABASE_URL'])\n"
        "    if await connection.fetchval(\"SELECT to_regclass('records') IS NOT NULL\"):\n"
        f"        await connection.execute(pathlib.Path({str(folder / 'change.sql')!r}).read_text())\n"
        "    await connection.close()\n"
        "asyncio.run(change())\n"
        f"os.execv({LESS_SYNC[0]!r}, {[*LESS_SYNC, 'serve']!r})\n"
    )
    return (sys.executable, str(script))


def with_incumbent(scratch: Scratch, words: Sequence[str], folder: Path) -> Scratch:
    """The same scratch with another way to start the incumbent, and names of its own."""
    return Scratch(replace(scratch.plan, incumbent=tuple(words), parent=folder, run_id=os.urandom(16)))


QUICK: Final[Mapping[str, Any]] = {"stage_ms": 700}


async def test_one_release_takes_over_from_itself_and_back(session_scratch: Scratch) -> None:
    run = run_of(session_scratch)
    opens = await row(run, "incumbent-opens")
    assert (opens.outcome, opens.measured.shown["records"]) == (PASSED, 200)
    loss = await row(run, "no-loss", parameters=QUICK)
    assert loss.outcome == PASSED
    assert loss.measured.shown["acknowledged"] >= 3


async def test_a_migration_that_the_incumbent_refuses_turns_the_row_red(newer: Newer) -> None:
    run = run_of(newer.scratch)
    refused = await row(run, "incumbent-opens", parameters={"records": 20})
    assert refused.outcome == failed("not-started:incumbent")
    assert any("migration 107 was previously applied" in line for line in refused.lines)
    assert await outcome(run, "losses", parameters={"back_to": 106}) == PASSED
    run.facts = newer.facts
    parameters = {"records": 20, "down": True}
    assert await outcome(run, "incumbent-opens", parameters=parameters) == PASSED


# The first record that came in a push of its own to the space that was written to last: of a client that
# pushes one by one, not of those who push many at once. The last one may be a push that was never answered.
REMOVES: Final = """
DELETE FROM records WHERE id IN (SELECT r.id FROM records r JOIN spaces s ON s.id = r.space_id
WHERE s.id NOT BETWEEN '6c657373-7379-8e63-8000-000000000000' AND '6c657373-7379-8e63-bfff-ffffffffffff'
AND NOT EXISTS (SELECT FROM records o WHERE o.space_id = r.space_id AND o.cursor = r.cursor AND o.id <> r.id)
ORDER BY s.updated_at DESC, r.cursor LIMIT 1)"""
CHANGES: Final = "UPDATE records SET blob = blob || '!' WHERE NOT deleted"


async def test_what_the_incumbent_loses_or_changes_is_seen(session_scratch: Scratch, tmp_path: Path) -> None:
    async with with_incumbent(session_scratch, changing(tmp_path), tmp_path) as scratch:
        run = run_of(scratch)
        (tmp_path / "change.sql").write_text(REMOVES)
        assert await outcome(run, "no-loss", parameters=QUICK) == failed("lost")
        assert await outcome(run, "incumbent-opens", parameters={"records": 20}) == PASSED
        assert await outcome(run, "losses") == PASSED
        (tmp_path / "change.sql").write_text(CHANGES)
        seen = await outcome(run, "incumbent-opens", parameters={"records": 20})
        assert seen == failed("differs:records:incumbent")
        # Who compares what was acknowledged with what is there sees the same.
        assert await outcome(run, "no-loss", parameters=QUICK) == failed("changed")


async def test_an_incumbent_that_does_not_come_up_is_told_with_what_it_said(
    session_scratch: Scratch, tmp_path: Path
) -> None:
    words = (sys.executable, "-c", "print('no such disk'); raise SystemExit(3)")
    async with with_incumbent(session_scratch, words, tmp_path) as scratch:
        seen = await row(run_of(scratch), "no-loss", parameters=QUICK)
        assert seen.outcome == failed("not-started:incumbent")
        assert any("no such disk" in line for line in seen.lines)
    async with with_incumbent(session_scratch, ("/nowhere/server",), tmp_path) as scratch:
        seen = await row(run_of(scratch), "incumbent-opens", parameters={"records": 20})
        assert seen.outcome == Outcome(Status.ERROR, "command-not-found")
