"""Each demand that is made of a report, violated alone; hostile folders; rendering anew; differences."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from less_sync.validation.attest import SigningKey
from less_sync.validation.compare import difference, document_of, render_again
from less_sync.validation.policy import Change
from less_sync.validation.reading import NotAReport, content
from less_sync.validation.results import Policy
from less_sync.validation.verify import DEMANDS, verify
from tests.validation.folders import (
    GOOD,
    KEY,
    committed,
    git,
    indexed,
    resign,
    rewritten,
    wanted,
    written,
)
from tests.validation.reports import FAILED, MOMENT, ROWS, SUBJECT, read, results, row

OTHER: Final = SigningKey(bytes(32))
LIVE: Final = {"production": replace(SUBJECT.fingerprints["production"].end, addresses=("198.51.100.1",))}
Edit = Callable[[Path], None]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed GO. Tests that change it take a copy of the work tree."""
    return committed(tmp_path_factory.mktemp("good") / "tree").folder


@pytest.fixture
def mine(good: Path, tmp_path: Path) -> Path:
    """The same, for the test to change."""
    tree = good.parents[3]
    shutil.copytree(tree, tmp_path / "tree")
    return tmp_path / "tree" / good.relative_to(tree)


def test_a_good_report_meets_all_demands(good: Path) -> None:
    verdict = verify(good, wanted(candidate="HEAD", kind="selfhost", stage="before", live=LIVE))
    assert (verdict.demand, verdict.told) == ("", "")
    assert verdict.keyid == KEY.keyid
    assert verdict.document is not None
    assert verdict.document.decision == "GO"


# What somebody without the key can do.


def edited(name: str, change: Callable[[bytes], bytes]) -> Edit:
    """Change a file's bytes."""

    def edit(folder: Path) -> None:
        (folder / name).write_bytes(change((folder / name).read_bytes()))

    return edit


def members(name: str, **changes: Any) -> Edit:
    """Change members of a JSON file."""
    return edited(name, lambda data: json.dumps(json.loads(data) | changes).encode())


def gone(name: str) -> Edit:
    """Remove a file."""
    return lambda folder: (folder / name).unlink()


def more(name: str) -> Edit:
    """Add a file."""
    return lambda folder: (folder / name).touch()


def linked(name: str) -> Edit:
    """Put a link to a file of the same content in its place."""

    def edit(folder: Path) -> None:
        shutil.move(folder / name, folder.parent / "moved")
        (folder / name).symlink_to(folder.parent / "moved")

    return edit


def other_attestation(folder: Path) -> None:
    """The attestation of another good report."""
    (folder / "attestation.dsse.json").write_bytes(
        (written(folder.parent, title="another").folder / "attestation.dsse.json").read_bytes()
    )


def listed(change: Callable[[list[bytes]], list[bytes]]) -> Edit:
    """Change the lines of the list of digests."""
    return edited("SHA256SUMS", lambda data: b"".join(change(data.splitlines(keepends=True))))


HEALTH: Final = "service-staging-health"
OUTSIDE: Final = f"{'0' * 64}  ../x\n".encode()
DAMAGED: Final[dict[str, tuple[str, Edit]]] = {
    "no results.json": ("format", gone("results.json")),
    "results.json of another format": ("format", members("results.json", format=2)),
    "results.json with an unknown key": ("format", members("results.json", more=1)),
    "results.json is a link": ("format", linked("results.json")),
    "no run.json": ("format", gone("run.json")),
    "run.json of a run that was cut short": ("format", members("run.json", state="running")),
    "run.json of another decision": ("format", members("run.json", decision="NO-GO")),
    "run.json that is deep": ("format", edited("run.json", lambda _data: b"[" * 60_000)),
    "no SHA256SUMS": ("files", gone("SHA256SUMS")),
    "a log changed": ("files", edited(f"logs/{HEALTH}.log", lambda data: data + b"x")),
    "a log removed": ("files", gone(f"logs/{HEALTH}.log")),
    "a log is a link": ("files", linked(f"logs/{HEALTH}.log")),
    "the folder of logs is a link": ("files", linked("logs")),
    "the manifest changed": ("files", edited("manifest.toml", lambda data: data + b"\n")),
    "the title changed": ("files", edited("results.json", lambda data: data.replace(b"A small", b"A large"))),
    "a listed path leads out": (
        "files",
        listed(lambda lines: [OUTSIDE, *lines]),
    ),
    "listed in another order": (
        "files",
        listed(lambda lines: lines[::-1]),
    ),
    "a file that is not listed": (
        "files",
        listed(lambda lines: lines[1:]),
    ),
    "a file added": ("further-files", more("more.txt")),
    "a log added": ("further-files", more("logs/more.log")),
    "a hidden file added": ("further-files", more("logs/.log")),
    "a folder added": ("further-files", lambda folder: (folder / "more").mkdir()),
    "a folder that is called a log": ("further-files", lambda folder: (folder / "logs" / "x.log").mkdir()),
    "a link added": (
        "further-files",
        lambda folder: (folder / "x.txt").symlink_to("/etc/passwd"),
    ),
    "a pipe added": ("further-files", lambda folder: os.mkfifo(folder / "logs" / "x.log")),
    "no attestation": ("signature", gone("attestation.dsse.json")),
    "the attestation of another report": ("signature", other_attestation),
    "an attestation that is none": ("signature", edited("attestation.dsse.json", lambda _data: b"{}")),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_somebody_changed_is_found(good: Path, tmp_path: Path, name: str) -> None:
    demand, edit = DAMAGED[name]
    folder = tmp_path / good.name
    shutil.copytree(good, folder)
    edit(folder)
    verdict = verify(folder, wanted(go=False))
    assert (verdict.demand, bool(verdict.told)) == (demand, True)


def test_a_key_that_is_not_trusted_is_none(good: Path) -> None:
    assert verify(good, wanted(trusted={})).demand == "signature"
    assert verify(good, wanted(trusted={OTHER.keyid: OTHER.public})).demand == "signature"
    assert verify(good, wanted(trusted={KEY.keyid: OTHER.public})).demand == "signature"


# What somebody who has the key could claim.


def signed(change: Edit) -> Edit:
    """Change it, then digest and sign it anew."""

    def edit(folder: Path) -> None:
        change(folder)
        resign(folder)

    return edit


def told(change: Callable[[dict[str, Any]], object]) -> Edit:
    """Change the document, render and sign it anew."""
    return lambda folder: rewritten(folder, change)


def in_row(**changes: Any) -> Edit:
    """Change the first row."""
    return told(lambda plain: plain["checks"][0].update(changes))


def failed(plain: dict[str, Any]) -> None:
    """A required row that failed in what is said to be a GO."""
    plain["checks"][0].update(status="failed", reason="status:503")
    plain["counts"].update(passed=2, failed={"required": 1, "optional": 0})


def nothing_required(plain: dict[str, Any]) -> None:
    """All rows optional."""
    for one in plain["checks"]:
        one["required"] = False


def manifest(change: Callable[[bytes], bytes]) -> Edit:
    """Change the manifest."""
    return signed(edited("manifest.toml", change))


LOOSER: Final = {"check_id": "", "key": "valid_for_s", "builtin": 1, "here": 2}
UNTRUE: Final[dict[str, tuple[str, Edit]]] = {
    "a log of no row": ("further-files", signed(more("logs/more.log"))),
    "a summary that says something else": ("render", signed(edited("SUMMARY.md", lambda data: data + b"x"))),
    "evidence changed": ("render", signed(edited(f"evidence/{HEALTH}.txt", lambda data: data + b"x"))),
    "evidence denied": ("render", in_row(evidence=None)),
    "a log elsewhere": ("render", in_row(log_path="logs/auth-staging-share.log")),
    "other counts": ("render", told(lambda plain: plain["counts"].update(passed=99))),
    "a baseline": ("decision", told(lambda plain: plain.update(mode="baseline"))),
    "a required row that failed": ("decision", told(failed)),
    "nothing required": (
        "decision",
        told(nothing_required),
    ),
    "reasons against it": ("decision", told(lambda plain: plain.update(decision_reasons=[{"code": "x"}]))),
    "would not be a GO": ("decision", told(lambda plain: plain.update(would_be="NO-GO"))),
    "a lane without a required row": (
        "decision",
        manifest(lambda data: data.replace(b'"service"', b'"contract"')),
    ),
    "a manifest that is none": ("decision", manifest(lambda _data: b"\xff")),
    "a target that changed": (
        "decision",
        told(lambda plain: plain["subject"]["fingerprints"]["production"]["end"].update(kind="go")),
    ),
    "another policy": ("policy", told(lambda plain: plain["policy"].update(digest="34" * 32))),
    "a looser policy": (
        "policy",
        told(
            lambda plain: plain["policy"].update(
                looser=[{"check_id": "", "key": "x", "builtin": 1, "here": 2}]
            )
        ),
    ),
    "no lifetime": ("age", manifest(lambda data: data.replace(b"3600", b'"long"'))),
    "no time of its end": ("age", told(lambda plain: plain["run"].update(finished_at="soon"))),
    "not what was committed": ("committed", told(lambda plain: plain.update(title="another"))),
}


@pytest.mark.parametrize("name", UNTRUE)
def test_what_a_signed_report_claims_is_recomputed(mine: Path, name: str) -> None:
    demand, edit = UNTRUE[name]
    edit(mine)
    verdict = verify(mine, wanted())
    assert (verdict.demand, bool(verdict.told)) == (demand, True)


def test_a_no_go_and_a_baseline_are_genuine_but_no_go(tmp_path: Path) -> None:
    for made in (written(tmp_path, ROWS), written(tmp_path, baseline=True)):
        assert verify(made.folder, wanted(go=False)).met
        assert verify(made.folder, wanted()).demand == "decision"


def test_a_policy_may_be_accepted(tmp_path: Path) -> None:
    change = (Change("service-staging-health", "with.deadline_ms", 3000, 9000),)
    for accepted, given, demand in (
        (False, "", "policy"),
        (True, "", "committed"),
        (False, "34" * 32, "committed"),
    ):
        policy = Policy("34" * 32, "12" * 32, accepted, looser=change)
        made = written(tmp_path, policy=policy)
        assert verify(made.folder, wanted(policy=given, repository=None)).demand == demand


def test_a_built_in_policy_of_another_release_is_another_one(good: Path) -> None:
    assert verify(good, wanted(builtin_policy=lambda _kind: "56" * 32)).demand == "policy"


@pytest.mark.parametrize(
    ("after_s", "max_age_s", "demand"),
    [
        (3599 + 120, None, ""),
        (3601 + 120, None, "age"),
        (300, 60, "age"),
        (130, 60, ""),
        (9000, 99999, "age"),
        (-300, None, "age"),
    ],
)
def test_a_go_may_be_used_for_a_while(good: Path, after_s: int, max_age_s: int | None, demand: str) -> None:
    now = MOMENT + timedelta(seconds=after_s)
    assert verify(good, wanted(now=now, max_age_s=max_age_s)).demand == demand


# What git says.


def test_a_report_has_to_be_committed_as_it_is(mine: Path, tmp_path: Path) -> None:
    tree = mine.parents[3]
    assert verify(mine, wanted(repository=None)).demand == "committed"
    shutil.copytree(mine, outside := tmp_path / mine.name)
    assert verify(outside, wanted()).demand == "committed"
    git(tree, "rm", "-q", "--cached", f"docs/reports/small/{mine.name}/logs/{HEALTH}.log")
    git(tree, "commit", "-q", "-m", "three")
    verdict = verify(mine, wanted())
    assert (verdict.demand, verdict.told) == ("committed", f"logs/{HEALTH}.log is not committed at HEAD")


def test_a_report_has_to_have_its_line_in_the_index(mine: Path) -> None:
    tree, index = mine.parents[3], mine.parent / "INDEX.tsv"
    line = index.read_text()
    for other in ("", line.replace("\tGO\t", "\tNO-GO\t"), line.replace(mine.name, f"{mine.name}-2")):
        index.write_text(other)
        git(tree, "commit", "-q", "-a", "-m", "other")
        assert verify(mine, wanted()).told == "INDEX.tsv has no line of it at HEAD"
    index.write_text(f"other\n{line}")
    assert verify(mine, wanted()).demand == "committed", "what is not committed does not count"
    git(tree, "commit", "-q", "-a", "-m", "again")
    assert verify(mine, wanted()).met


def test_what_is_committed_besides_is_found(mine: Path) -> None:
    (mine / "more.txt").write_text("x")
    git(mine, "add", "more.txt")
    git(mine, "commit", "-q", "-m", "three")
    (mine / "more.txt").unlink()
    assert verify(mine, wanted()).told == "at HEAD there is also 'more.txt'"


def test_the_candidate_may_differ_in_reports_alone(mine: Path) -> None:
    tree = mine.parents[3]
    (tree / "docs" / "reports" / "other.md").write_text("x")
    git(tree, "add", ".")
    git(tree, "commit", "-q", "-m", "three")
    assert verify(mine, wanted(candidate="HEAD")).met
    (tree / "server.py").write_text("2\n")
    assert verify(mine, wanted(candidate="HEAD")).met, "what is not committed is no candidate"
    git(tree, "commit", "-q", "-a", "-m", "four")
    verdict = verify(mine, wanted(candidate="HEAD"))
    assert (verdict.demand, verdict.told) == (
        "candidate",
        "HEAD is another candidate: it differs in 'server.py'",
    )


@pytest.mark.parametrize("commit", ["", "00" * 20, "--help", "HEAD"])
def test_a_candidate_that_git_does_not_know_is_none(tmp_path: Path, commit: str) -> None:
    made = committed(tmp_path / "tree")
    rewritten(made.folder, lambda plain: plain["subject"]["candidate"].update(commit=commit))
    again = replace(made, document=document_of(made.folder))
    sums = (made.folder / "SHA256SUMS").read_bytes()
    indexed(replace(again, report_digest=hashlib.sha256(sums).hexdigest()))
    git(tmp_path / "tree", "add", ".")
    git(tmp_path / "tree", "commit", "-q", "-m", "three")
    assert verify(made.folder, wanted()).met
    assert verify(made.folder, wanted(candidate="HEAD")).demand == "candidate"


@pytest.mark.parametrize(
    ("asked", "demand"),
    [
        ({"candidate": "1.5.0"}, ""),
        ({"candidate": "1.5.1"}, "candidate"),
        ({"kind": "cutover"}, "kind"),
        ({"stage": "after"}, "stage"),
        ({"kind": "cutover", "stage": "after", "candidate": "x"}, "candidate"),
        ({"live": {}}, "live"),
        ({"live": {"production": replace(LIVE["production"], jwks_sha256="x")}}, "live"),
        ({"live": {"production": replace(LIVE["production"], base_url="https://evil.example")}}, "live"),
        ({"live": LIVE}, ""),
    ],
)
def test_it_has_to_be_about_what_was_asked_for(good: Path, asked: dict[str, Any], demand: str) -> None:
    assert verify(good, wanted(**asked)).demand == demand


def test_every_demand_is_violated_by_a_test_of_its_own() -> None:
    tried = {demand for demand, _ in (*DAMAGED.values(), *UNTRUE.values())} | {
        "candidate",
        "kind",
        "stage",
        "live",
    }
    assert tried == set(DEMANDS)


# Folders that mean harm.


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "logs/../run.json", "logs//x.log", "x", "logs/X.log", "logs"]
)
def test_no_path_leads_out_of_the_folder(good: Path, path: str) -> None:
    with pytest.raises(NotAReport):
        content(good, path)


def test_a_folder_that_is_too_large_is_not_read(mine: Path) -> None:
    with (mine / "logs" / f"{HEALTH}.log").open("ab") as log:
        log.truncate(1 << 40)
    verdict = verify(mine, wanted())
    assert verdict.demand == "files"
    assert "bytes" in verdict.told


def test_a_folder_with_too_many_files_is_not_read(mine: Path) -> None:
    for number in range(2100):
        (mine / "evidence" / f"x{number}.txt").touch()
    assert (verify(mine, wanted()).demand, verify(mine, wanted()).told) == ("files", "too many files")


def test_what_is_no_folder_is_no_report(tmp_path: Path) -> None:
    assert verify(tmp_path / "none", wanted()).demand == "format"


# Rendering anew, and differences.


def test_rendering_anew_gives_the_same_bytes(mine: Path) -> None:
    before = {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    assert render_again(mine) == []
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before
    (mine / "SUMMARY.md").write_text("x")
    (mine / "report.html").unlink()
    assert render_again(mine) == ["SUMMARY.md", "report.html"]
    assert {path: path.read_bytes() for path in mine.rglob("*") if path.is_file()} == before


def test_equal_runs_have_no_difference() -> None:
    found = difference(read(results()), read(results()))
    assert (found.lines, found.same_outcome) == ((), True)


def test_what_changed_between_two_runs_is_told() -> None:
    one = read(results([row("a"), row("b"), row("c", FAILED), row("d")]))
    fast = row("b", parameters={"deadline_ms": 1000}, required=False)
    fast.measured.number("slowest_ms", 7)
    two = read(results([row("a"), fast, row("c"), row("e")], subject=replace(SUBJECT, backup=None)))
    found = difference(one, two)
    assert not found.same_outcome
    for line in (
        "decision: NO-GO -> GO",
        "d: no longer there",
        "b: required passed -> optional passed",
        "c: required failed (status:503) -> required passed",
        "e: new, passed",
        "b: deadline_ms 3000 -> 1000",
        "b: slowest_ms 5 -> 7",
        "subject backup/age_s: 3721 -> none",
    ):
        assert line in found.lines, found.lines


def test_another_target_alone_is_the_same_outcome() -> None:
    seen = SUBJECT.fingerprints["production"]
    moved = replace(seen, start=replace(seen.start, base_url="https://other.example"))
    two = replace(SUBJECT, fingerprints=dict(SUBJECT.fingerprints) | {"production": moved})
    found = difference(read(results(GOOD)), read(results(GOOD, subject=two)))
    assert found.same_outcome
    assert found.lines == (
        "subject fingerprints/production/start/base_url: https://sync.example -> https://other.example",
    )
