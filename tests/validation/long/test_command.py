"""`less-sync validate` as it is typed: exit codes, interruptions, resuming, commits, and what it prints."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from less_sync.validation.catalogue import CATALOGUE
from less_sync.validation.manifest import declared
from less_sync.validation.policy import digest
from tests.bins.commands import Finished, run_less_sync
from tests.wire.command import Command, start_command

HEAD = """\
format = 1
kind = "selfhost"
name = "own"
title = "A small one"
valid_for_s = 3600
"""
TOKEN = ".".join(("eyJhbGciOiJFUzI1NiJ9", "eyJzdWIiOiJhIn0", "c2lnbmF0dXJlc2lnbmF0dXJl"))
END_S = 30.0
WAITS = "exec('import os, time\\np = os.getppid()\\nwhile os.getppid() == p: time.sleep(0.05)')"
"""A line of Python that goes on until the run is gone that began it: a killed one ends nothing."""


@dataclass(slots=True)
class Place:
    """A folder in which somebody validates."""

    folder: Path
    manifest: Path

    def checks(self, **programs: str) -> None:
        """Make a manifest of checks that run these lines of Python."""
        rows = [
            f'[[checks]]\nid = "{name}"\nuses = "command"\nlane = "custom"\n'
            f"with = {{ argv = {json.dumps([sys.executable, '-c', program])}, exit = 0 }}\n"
            for name, program in programs.items()
        ]
        self.manifest.write_text(HEAD + "\n".join(rows))

    @property
    def policy(self) -> str:
        """The digest of its policy."""
        return digest(declared(self.manifest.read_text(), "own", catalogue=CATALOGUE, environment={}))

    def words(self, *more: str, accepted: bool = True) -> list[str]:
        """The words of a run by this manifest."""
        accept = ["--accept-policy", self.policy] if accepted else []
        return ["validate", "--backup", "backups", "--manifest", str(self.manifest), *accept, *more]

    @property
    def environment(self) -> dict[str, str]:
        """In which nothing is set but where the signing key lies."""
        return {"XDG_CONFIG_HOME": str(self.folder / "config")}

    async def run(
        self, *more: str, accepted: bool = True, env: Mapping[str, str] = {}, **environment: str
    ) -> Finished:
        """Run it to its end."""
        words = self.words(*more, accepted=accepted)
        return await run_less_sync(*words, env=self.environment | dict(env) | environment, cwd=self.folder)

    async def less_sync(self, *words: str) -> Finished:
        """Run another command here."""
        return await run_less_sync("validate", *words, env=self.environment, cwd=self.folder)

    async def started(self, *more: str) -> Command:
        """Begin to run it."""
        return await start_command(
            "less-sync", self.words(*more), env=self.environment, cwd=self.folder, stderr_apart=True
        )

    def results(self, out: str) -> Any:
        """The document of a report."""
        return json.loads((self.folder / out / "results.json").read_bytes())

    async def trusting(self) -> str:
        """A file of trusted keys with this user's own."""
        path = self.folder / "trusted"
        path.write_text((await self.less_sync("keygen")).out)
        return str(path)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "backups").mkdir()
    return Place(tmp_path, tmp_path / "own.toml")


async def appeared(path: Path) -> None:
    async with asyncio.timeout(END_S):
        while not path.exists():  # noqa: ASYNC110  # another process makes it
            await asyncio.sleep(0.02)


async def test_a_go_says_so_last_is_signed_and_is_0(place: Place) -> None:
    place.checks(one="pass", two="pass")
    done = await place.run("--out", "report")
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines()[:2] == ["[passed] one (required)", "[passed] two (required)"]
    assert done.out.splitlines()[-3:] == [
        "results: report/results.tsv",
        "summary: report/SUMMARY.md",
        "decision: GO",
    ]
    verified = await place.less_sync("verify", "report", "--trusted-keys", await place.trusting())
    assert verified.status == 0
    assert verified.out.startswith("verified: a GO, signed by ")
    live = await place.less_sync("verify", "report", "--live", "--trusted-keys", await place.trusting())
    assert (live.status, live.err) == (0, "")  # servers that a run starts are not looked for
    key = place.folder / "config" / "less-sync" / "validation.key"
    assert key.stat().st_mode & 0o777 == 0o600
    checked = await asyncio.create_subprocess_exec(
        *("sha256sum", "--check", "--quiet", "SHA256SUMS"), cwd=place.folder / "report"
    )
    assert await checked.wait() == 0


async def test_a_check_that_fails_or_a_looser_policy_that_nobody_accepted_is_1(place: Place) -> None:
    place.checks(one="pass", two="raise SystemExit(3)")
    done = await place.run("--out", "report")
    assert done.status == 1
    assert done.out.splitlines()[-1] == "decision: NO-GO (1 required check did not pass)"
    assert "[failed] two (required): exit" in done.out
    place.checks(one="pass")
    done = await place.run("--out", "other", accepted=False)
    assert (done.status, done.out.splitlines()[-1]) == (1, "decision: NO-GO (policy-loosened)")
    looser = {(one["check_id"], one["key"]) for one in place.results("other")["policy"]["looser"]}
    assert {("", "lanes"), ("service-staging-health", "row")} <= looser


async def test_a_baseline_is_0_whatever_failed_and_says_what_it_would_be(place: Place) -> None:
    place.checks(one="raise SystemExit(3)")
    done = await place.run("--out", "report", FAIL_ON_REQUIRED_FAILURE="off")
    assert (done.status, done.out.splitlines()[-1]) == (0, "decision: BASELINE (would be: NO-GO)")
    place.checks(one="pass")
    done = await place.run("--out", "passed", "--mode", "baseline")
    assert (done.status, done.out.splitlines()[-1]) == (0, "decision: BASELINE (would be: GO)")
    refused = await place.less_sync(
        *("verify", "passed", "--trusted-keys", await place.trusting(), "--require-go")
    )
    assert refused.status == 5
    assert refused.out.startswith("not verified: decision")


@pytest.mark.parametrize(
    ("words", "environment", "told"),
    [
        (["--set", "nothing"], {}, "'nothing' is not KEY=VALUE"),
        (["--kind", "cutoff"], {}, "there is no kind 'cutoff'"),
        (["--run-id", "12"], {}, "a run's id is 32 hex digits"),
        (["--out", "backups"], {}, "backups exists: a report is written into a new folder"),
        (["--commit", "--out", "x"], {}, "--commit wants the report in the work tree"),
        (["--check", "three"], {}, "--check three: there is no such check"),
        ([], {"FAIL_ON_REQUIRED_FAILURE": "ture"}, "FAIL_ON_REQUIRED_FAILURE: 'ture' is neither"),
        ([], {"STAGING_BASE_URL": "https://staging.example"}, "did you mean --kind cutover?"),
        ([], {"PROD_ACCESS_TOKEN": "short"}, "PROD_ACCESS_TOKEN has fewer than 8 characters"),
        ([], {"INCUMBENT_COMMAND": "'unclosed"}, "command"),
        (["--resume", "backups"], {}, "run.json"),
    ],
)
async def test_whatever_is_wrong_before_anything_runs_is_2_and_leaves_no_report(
    place: Place, words: Sequence[str], environment: dict[str, str], told: str
) -> None:
    place.checks(one="pass")
    before = sorted(place.folder.rglob("results.json"))
    done = await place.run(*words, env=environment)
    assert done.status == 2
    assert told in done.err
    assert not done.out
    assert sorted(place.folder.rglob("results.json")) == before


async def test_without_a_backup_it_says_how_to_make_one(place: Place) -> None:
    done = await place.less_sync("run")
    assert done.status == 2
    assert "less-sync backup /var/backups/less-sync\n" in done.err


async def test_options_before_a_command_are_refused_and_not_lost(place: Place) -> None:
    done = await run_less_sync("validate", "--kind", "cutover", "list", cwd=place.folder)
    assert done.status == 2
    assert "give the options behind `list`" in done.err


async def test_an_interrupted_run_writes_its_report_and_is_3(place: Place) -> None:
    begun = place.folder / "begun"
    place.checks(
        one="pass",
        two=f"open({str(begun)!r}, 'w'); {WAITS}",
        three="pass",
    )
    running = await place.started("--out", "report")
    await appeared(begun)
    running.send_signal(signal.SIGINT)
    out, _ = await asyncio.wait_for(running.communicate(), END_S)
    assert running.returncode == 3
    last = out.decode().splitlines()[-1]
    assert last == "decision: NO-GO (interrupted; 2 required checks did not pass)"
    statuses = {one["id"]: (one["status"], one["reason"]) for one in place.results("report")["checks"]}
    assert statuses == {
        "one": ("passed", "-"),
        "two": ("error", "interrupted"),
        "three": ("error", "interrupted"),
    }


async def test_a_second_signal_ends_at_once_and_leaves_the_journal(place: Place) -> None:
    begun = place.folder / "begun"
    place.checks(one="pass", two=f"open({str(begun)!r}, 'w'); {WAITS}")
    running = await place.started("--out", "report")
    await appeared(begun)
    running.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    running.send_signal(signal.SIGTERM)
    await asyncio.wait_for(running.communicate(), 8)
    assert running.returncode == 130
    assert not (place.folder / "report" / "results.json").exists()
    lines = (place.folder / "report" / "journal.ndjson").read_text().splitlines()
    assert [json.loads(line)["entry"]["id"] for line in lines] == ["one"]


async def test_a_run_that_was_killed_is_no_go_and_is_completed_by_resuming(place: Place) -> None:
    begun, counted = place.folder / "begun", place.folder / "counted"
    place.checks(
        one=f"open({str(counted)!r}, 'a').write('1')",
        two=f"import os; open({str(begun)!r}, 'a').write('x')\n"
        f"if os.path.getsize({str(begun)!r}) < 2: {WAITS}",
    )
    running = await place.started("--out", "report")
    await appeared(begun)
    running.kill()
    await running.communicate()
    trusted = await place.trusting()
    refused = await place.less_sync("verify", "report", "--trusted-keys", trusted)
    assert (refused.status, refused.out.split(":")[:2]) == (5, ["not verified", " format"])
    done = await place.run("--resume", "report")
    assert (done.status, done.out.splitlines()[-1]) == (0, "decision: GO")
    assert counted.read_text() == "1"
    rows = {one["id"]: one.get("resumed_from", "") for one in place.results("report")["checks"]}
    assert rows == {"one": place.results("report")["run"]["id"], "two": ""}
    assert (await place.less_sync("verify", "report", "--trusted-keys", trusted)).status == 0
    again = await place.run("--resume", "report")
    assert (again.status, "the run has finished" in again.err) == (2, True)


async def test_a_changed_row_is_not_used_again(place: Place) -> None:
    begun, counted = place.folder / "begun", place.folder / "counted"
    count = f"open({str(counted)!r}, 'a').write('1')"
    place.checks(one=count, two=f"open({str(begun)!r}, 'w'); {WAITS}")
    running = await place.started("--out", "report")
    await appeared(begun)
    running.kill()
    await running.communicate()
    place.checks(one=f"{count}; pass", two="pass")
    assert (await place.run("--resume", "report")).status == 0
    assert counted.read_text() == "11"


async def test_a_key_that_cannot_sign_is_4_before_anything_is_run(place: Place) -> None:
    place.checks(one="pass")
    (place.folder / "key").write_text("no key\n")
    done = await place.run("--out", "report", "--sign-key", "key")
    assert done.status == 4
    assert "does not hold a signing key" in done.err
    assert "nothing was run: name another file by --sign-key" in done.err
    assert not done.out
    assert not (place.folder / "report").exists()


async def test_a_secret_that_nobody_knew_of_is_4_and_is_not_in_the_report(place: Place) -> None:
    place.checks(one=f"print({TOKEN!r})")
    done = await place.run("--out", "report")
    assert done.status == 4
    assert done.out.splitlines()[-1].startswith("decision: NO-GO (secret-in-report")
    assert "a secret was found in the report" in done.err
    found = [path for path in (place.folder / "report").rglob("*") if path.is_file()]
    assert found
    assert not [path for path in found if TOKEN.encode() in path.read_bytes()]
    assert TOKEN not in done.out + done.err


async def test_a_secret_in_the_error_text_of_a_server_is_4_and_is_not_in_the_report(place: Place) -> None:
    """A text of its own, as a server tells it that gives away what its driver said."""
    secret = "postgres://app:not-for-your-eyes@10.0.0.9/sync"
    body = json.dumps({"error": f"could not connect to {secret}"}).encode()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 503 Service Unavailable\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    target = '[targets.production]\nbase_url = "${PROD_BASE_URL}"\n\n'
    check = '[[checks]]\nid = "one"\nuses = "health"\ntarget = "production"\n'
    place.manifest.write_text(HEAD + target + check)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        done = await place.run("--out", "report", PROD_BASE_URL=f"http://127.0.0.1:{port}")
    assert done.status == 4
    assert "[failed] one (required): status:503" in done.out
    assert done.out.splitlines()[-1].startswith("decision: NO-GO (secret-in-report")
    found = [path for path in (place.folder / "report").rglob("*") if path.is_file()]
    assert not [path for path in found if b"not-for-your-eyes" in path.read_bytes()]
    assert "not-for-your-eyes" not in done.out + done.err


async def test_a_secret_that_was_given_is_masked_wherever_it_comes_back(place: Place) -> None:
    secret = "a secret of the operator's own/+="
    place.checks(one="import os; print(os.environ['PROD_ACCESS_TOKEN'])")
    text = place.manifest.read_text().replace("exit = 0", 'exit = 0, variables = ["PROD_ACCESS_TOKEN"]')
    place.manifest.write_text(text)
    done = await place.run("--out", "report", PROD_ACCESS_TOKEN=secret)
    assert done.status == 0
    files = [path for path in (place.folder / "report").rglob("*") if path.is_file()]
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert "[secret:PROD_ACCESS_TOKEN" in (place.folder / "report" / "evidence" / "one.txt").read_text()


async def test_two_runs_of_one_name_at_once_are_one_too_many(place: Place) -> None:
    begun = place.folder / "begun"
    place.checks(one=f"open({str(begun)!r}, 'w'); {WAITS}")
    running = await place.started("--out", "reports/first")
    await appeared(begun)
    second = await place.run("--out", "reports/second")
    assert (second.status, "another run writes reports" in second.err) == (2, True)
    running.send_signal(signal.SIGINT)
    await asyncio.wait_for(running.communicate(), END_S)
    assert running.returncode == 3


def git(folder: Path, *words: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **{
            f"GIT_{who}_{what}": "somebody@example"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }
    done = subprocess.run(
        ["git", *words], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout.strip()


async def test_a_committed_go_may_be_acted_on_until_something_else_changes(place: Place) -> None:
    place.checks(one="pass")
    git(place.folder, "init", "--quiet")
    git(place.folder, "config", "user.name", "somebody")
    git(place.folder, "config", "user.email", "somebody@example")
    (place.folder / "less_sync" / "validation").mkdir(parents=True)
    (place.folder / "less_sync" / "validation" / "x.py").write_text("")
    (place.folder / ".gitignore").write_text("config\nbackups\n.lock\n")
    git(place.folder, "add", ".")
    git(place.folder, "commit", "--quiet", "--message", "a work tree of less-sync's own")
    before = git(place.folder, "rev-parse", "HEAD")
    done = await place.run("--commit")
    assert done.status == 0, done.err
    match = re.search(r"^results: (docs/reports/own/\d{8}T\d{6}Z)/results.tsv$", done.out, re.MULTILINE)
    assert match is not None
    folder = match[1]
    changed = git(place.folder, "diff", "--name-only", before, "HEAD").splitlines()
    assert changed
    assert all(path.startswith(f"{folder}/") or path == "docs/reports/own/INDEX.tsv" for path in changed)
    assert place.results(folder)["subject"]["candidate"]["commit"] == before
    (place.folder / "docs" / "reports" / "TRUSTED_KEYS").write_text((await place.less_sync("keygen")).out)
    demands = ("--require-go", "--candidate", "HEAD", "--policy", place.policy)
    verified = await place.less_sync("verify", folder, *demands)
    assert (verified.status, verified.out.split(",")[0]) == (0, "verified: a GO that still holds")
    (place.folder / "less_sync" / "validation" / "x.py").write_text("changed = True\n")
    git(place.folder, "commit", "--quiet", "--all", "--message", "another release")
    refused = await place.less_sync("verify", folder, *demands)
    assert (refused.status, refused.out.split(":")[:2]) == (5, ["not verified", " candidate"])


async def test_equal_outcomes_are_equal_bytes_whatever_the_jobs_language_time_zone_and_hash_seed(
    place: Place,
) -> None:
    place.checks(one="pass", two="raise SystemExit(3)", three="print('x')")
    await place.run("--out", "a/report", "--jobs", "1", TZ="Asia/Tokyo", LANG="C")
    await place.run("--out", "b/report", "--jobs", "8", TZ="UTC", LANG="C.UTF-8", PYTHONHASHSEED="7")
    one, other = (place.folder / name / "report" for name in "ab")
    assert (one / "results.tsv").read_bytes() == (other / "results.tsv").read_bytes()
    assert place.results("a/report")["stable_digest"] == place.results("b/report")["stable_digest"]
    diff = await place.less_sync("diff", "a/report", "b/report")
    assert diff.status == 0
    rendered = await place.less_sync("render", "a/report")
    assert (rendered.status, rendered.out) == (0, "every rendering is as it was\n")


async def test_json_is_a_line_per_check_and_one_for_the_decision(place: Place) -> None:
    place.checks(one="pass", two="raise SystemExit(3)")
    done = await place.run("--out", "report", "--json")
    events = [json.loads(line) for line in done.out.splitlines()]
    assert [(one["event"], one.get("id"), one.get("status")) for one in events] == [
        ("check", "one", "passed"),
        ("check", "two", "failed"),
        ("decision", None, None),
    ]
    assert (events[-1]["decision"], events[-1]["exit"]) == ("NO-GO", 1)
    quiet = await place.run("--out", "other", "--quiet")
    assert quiet.out == "decision: NO-GO (1 required check did not pass)\n"


async def test_a_part_is_never_a_go_and_says_what_it_was(place: Place) -> None:
    place.checks(one="pass", two="pass", three="pass")
    done = await place.run("--out", "report", "--check", "two")
    told = "decision: NO-GO (1 of 1 selected checks passed; 2 required checks were not selected)"
    assert (done.status, done.out.splitlines()[0], done.out.splitlines()[-1]) == (
        1,
        "[passed] two (required)",
        told,
    )
    assert "not-selected" not in done.out


async def test_the_built_in_manifests_are_listed_and_printed_and_read_again(place: Place) -> None:
    for kind in ("selfhost", "cutover", "upgrade", "rollback", "decommission"):
        listed = await place.less_sync("list", "--kind", kind)
        assert (listed.status, listed.out.split("\t")[0]) == (0, "check_id"), listed.err
        printed = await place.less_sync("manifest", kind)
        own = place.folder / f"{kind}.toml"
        own.write_text(printed.out)
        again = await place.less_sync("list", "--manifest", str(own))
        assert again.out == listed.out, kind


async def test_preflight_names_every_missing_input_of_a_required_check(place: Place) -> None:
    environment = {"STAGING_BASE_URL": "http://127.0.0.1:9", "PROD_BASE_URL": "http://127.0.0.1:9"}
    done = await run_less_sync(
        "validate", "preflight", "--kind", "cutover", env=environment, cwd=place.folder
    )
    assert done.status == 1
    assert "ready   service-staging-health" in done.out
    for missing in (
        "missing service-candidate-health: input:PROD_CANDIDATE_BASE_URL",
        "missing auth-staging-token-refusals: identity:issuer:mint",
        "missing database-production-migrations: input:PROD_DATABASE_URL",
    ):
        assert missing in done.out
    done = await run_less_sync("validate", "preflight", "--backup", "backups", cwd=place.folder)
    assert (done.status, done.out.splitlines()[-1]) == (0, "every required check can be tried")
