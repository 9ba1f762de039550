"""The folder: how it is written, that it tells no secret, and that nothing half-written is a decision."""

import hashlib
import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from less_sync.validation.attest import EvidenceFault, SigningKey, kept_signing_key
from less_sync.validation.compare import document_of
from less_sync.validation.index import append_index, index_line
from less_sync.validation.journal import Former, read_journal, read_state, resumed_row
from less_sync.validation.keeping import report_lock
from less_sync.validation.reading import NotAReport
from less_sync.validation.redact import Redactor
from less_sync.validation.report import LOG_BYTES_MAX, NOTE, Report
from less_sync.validation.results import read_document
from less_sync.validation.verify import verify
from tests.validation.folders import GOOD, KEY, MANIFEST, wanted, written
from tests.validation.reports import FAILED, HOSTILE, MOMENT, ROWS, SKIPPED, results, row

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MX0.c2lnbmF0dXJlLXdpdGgtaXRzLWVuZA"


def files(folder: Path) -> dict[str, bytes]:
    """Everything in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_has_its_files_with_their_modes(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        done = written(tmp_path / "docs" / "small", ROWS)
    finally:
        os.umask(mask)
    assert done.folder.name == "20260504T030201Z"
    names = {"results.json", "results.tsv", "SUMMARY.md", "junit.xml", "report.html", "manifest.toml"}
    names |= {"run.json", "journal.ndjson", "SHA256SUMS", "attestation.dsse.json"}
    names |= {f"logs/{one.check.id}.log" for one in ROWS}
    names |= {f"evidence/{one.check.id}.txt" for one in ROWS if one.evidence}
    assert files(done.folder).keys() == names
    assert {path.stat().st_mode & 0o777 for path in done.folder.rglob("*") if path.is_file()} == {0o644}
    assert {path.stat().st_mode & 0o777 for path in (done.folder, done.folder / "logs")} == {0o755}
    assert (done.folder / "logs" / "four.log").read_text() == "skipped: not-selected\n"
    assert (done.folder / "logs" / "two.log").read_text() == "asked two\nanswered\n"
    assert read_document(files(done.folder)["results.json"]) == done.document
    assert json.loads((done.folder / "run.json").read_text()) == {
        "format": 1,
        "run": "00" * 16,
        "state": "finished",
        "started_at": "2026-05-04T03:02:01Z",
        "finished_at": "2026-05-04T03:04:01Z",
        "decision": "NO-GO",
        "exit": 0,
        "resumes": [],
    }


def test_sha256sum_accepts_it_and_finds_what_was_changed(tmp_path: Path) -> None:
    done = written(tmp_path)
    check = ("sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS")
    assert subprocess.run(check, cwd=done.folder, capture_output=True, check=False).returncode == 0
    assert done.report_digest == hashlib.sha256((done.folder / "SHA256SUMS").read_bytes()).hexdigest()
    with (done.folder / "logs" / "auth-staging-share.log").open("a") as log:
        log.write("x")
    found = subprocess.run(check, cwd=done.folder, capture_output=True, check=False, text=True)
    assert found.stdout == "logs/auth-staging-share.log: FAILED\n"


def test_two_runs_of_one_second_have_two_folders(tmp_path: Path) -> None:
    names = [
        Report.create(tmp_path, MOMENT, redactor=Redactor(), run_id="00" * 16).folder.name for _ in range(3)
    ]
    assert names == ["20260504T030201Z", "20260504T030201Z-2", "20260504T030201Z-3"]
    with pytest.raises(FileExistsError):
        Report.at(tmp_path / names[0], MOMENT, redactor=Redactor(), run_id="00" * 16)


def test_one_run_at_a_time_writes_beside_others(tmp_path: Path) -> None:
    with report_lock(tmp_path / "small"):
        with pytest.raises(BlockingIOError), report_lock(tmp_path / "small"):
            raise AssertionError
        with report_lock(tmp_path / "other"):
            pass
    with report_lock(tmp_path / "small"):
        pass


@given(st.randoms(use_true_random=False))
@settings(max_examples=5)
def test_whatever_finished_first_the_table_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, random_: random.Random
) -> None:
    parent = tmp_path_factory.mktemp("order")
    finishing = list(ROWS)
    random_.shuffle(finishing)
    one, two = written(parent, ROWS), written(parent, ROWS, finishing=finishing)
    assert one.document.stable_digest == two.document.stable_digest
    assert files(one.folder)["results.tsv"] == files(two.folder)["results.tsv"]


def test_other_places_hash_seeds_and_locales_give_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.validation.folders import written; "
        "from tests.validation.reports import ROWS; print(written(Path(sys.argv[1]), ROWS).folder)"
    )
    env = os.environ | {"TZ": "Asia/Tokyo", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE", "PYTHONHASHSEED": "7"}
    argv = (sys.executable, "-c", script, str(tmp_path / "there"))
    out = subprocess.run(argv, env=env, capture_output=True, check=True, text=True).stdout
    here, there = written(tmp_path / "here", ROWS).folder, Path(out.strip())
    assert document_of(here).stable_digest == document_of(there).stable_digest
    for name in ("results.tsv", "results.json", "SUMMARY.md", "report.html", "junit.xml"):
        assert (here / name).read_bytes() == (there / name).read_bytes(), name


# Secrets.


def test_a_registered_secret_is_in_no_file(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("token", TOKEN)
    redactor.add("path:backup", "/srv/backups/of-us")
    said = {"lines": (f"asked with {TOKEN}", "failed: x"), "evidence": f"> authorization: Bearer {TOKEN}\n"}
    rows = [
        row("one", FAILED, description=f"with {TOKEN}", parameters={"word": TOKEN}, row=said),
        row("two", parameters={"argv": ("probe", "/srv/backups/of-us/x")}),
    ]
    done = written(tmp_path, rows, redactor=redactor, manifest=f'{MANIFEST}x = "{TOKEN}"\n', title=TOKEN)
    assert done.secrets_found == ()
    found = files(done.folder)
    assert [name for name, data in found.items() if TOKEN.encode() in data or b"/srv/" in data] == []
    assert b'"title": "[secret:token]"' in found["results.json"]
    assert b"[path:backup]/x" in found["results.tsv"]
    assert found["logs/one.log"].startswith(b"asked with [secret:token:")
    assert done.results.decision == "NO-GO"


def test_a_secret_that_was_learnt_late_is_masked_in_what_was_written_before(tmp_path: Path) -> None:
    redactor = Redactor()
    report = Report.create(tmp_path, MOMENT, redactor=redactor, run_id="00" * 16)
    report.manifest(MANIFEST)
    report.append(row("service-x", row={"evidence": f"< {TOKEN}\n"}))
    redactor.add("token", TOKEN)
    done = report.finish(results([row("service-x", lane="service")]), lambda: KEY)
    assert (done.secrets_found, done.results.decision) == ((), "GO")
    assert TOKEN.encode() not in b"".join(files(done.folder).values())
    assert verify(done.folder, wanted(go=False)).met


@pytest.mark.parametrize("baseline", [False, True])
@pytest.mark.parametrize(
    ("where", "rows", "changes", "left_out"),
    [
        ("evidence", [row("one", row={"evidence": f"< {TOKEN}\n"})], {}, {"evidence/one.txt"}),
        ("log", [row("one", row={"lines": (f"said {TOKEN}", "passed: -")})], {}, {"logs/one.log"}),
        ("title", [row("one")], {"title": f"of {TOKEN}"}, set()),
        ("manifest", [row("one")], {"manifest": f'{MANIFEST}x = "{TOKEN}"\n'}, {"manifest.toml"}),
    ],
)
def test_a_secret_that_nobody_registered_makes_a_no_go(
    tmp_path: Path,
    where: str,
    rows: list[object],
    changes: dict[str, str],
    left_out: set[str],
    *,
    baseline: bool,
) -> None:
    done = written(tmp_path, rows, baseline=baseline, **changes)  # type: ignore[arg-type]  # rows of the table
    found = files(done.folder)
    assert done.secrets_found
    assert all(one.endswith(": net:token") for one in done.secrets_found), where
    assert [name for name, data in found.items() if TOKEN.encode() in data] == []
    assert {name for name, data in found.items() if data == NOTE.encode()} >= left_out
    assert (done.results.decision, done.document.overall) == ("NO-GO", "failed")
    assert done.document.decision_reasons[0].code == "secret-in-report"
    assert b"**Decision: NO-GO** A secret was found in this report" in found["SUMMARY.md"]
    assert verify(done.folder, wanted(go=False)).met
    assert verify(done.folder, wanted()).demand == "decision"


# Bounds and faults.


def test_texts_are_cut_where_they_are_too_long(tmp_path: Path) -> None:
    long = row("one", row={"lines": tuple(["x" * 1023] * 300), "evidence": "\u00e9" * (3 * 1024 * 1024 // 2)})
    done = written(tmp_path, [long])
    log, evidence = (files(done.folder)[name] for name in ("logs/one.log", "evidence/one.txt"))
    assert len(log) <= LOG_BYTES_MAX
    assert len(evidence) <= 2 * 1024 * 1024
    assert log.endswith(b" bytes more are not kept: one check has 256 KiB)\n")
    kept, _, told = evidence.decode().rpartition("\n(")
    assert (
        told == f"{3 * 1024 * 1024 - len(kept.encode())} bytes more are not kept: one check has 2048 KiB)\n"
    )


def test_a_report_that_is_full_keeps_saying_what_is_missing(tmp_path: Path) -> None:
    rows = [row(f"c{number}", row={"evidence": "x" * 10_000}) for number in range(20)]
    made = Report.create(tmp_path, MOMENT, redactor=Redactor(), run_id="00" * 16)
    report = Report(
        made.folder, Redactor(), {"format": 1, "run": "", "started_at": ""}, texts_bytes_max=100_000
    )
    report.manifest(MANIFEST)
    for one in rows:
        report.append(one)
    found = files(report.folder)
    assert sum(len(data) for name, data in found.items() if "/" in name) < 100_000 + 40 * 100
    assert found["evidence/c1.txt"] == b"x" * 10_000
    assert found["evidence/c19.txt"].endswith(b" bytes more are not kept: the report is full)\n")
    assert found["logs/c19.log"].endswith(b" bytes more are not kept: the report is full)\n")


def test_hostile_text_in_a_log_is_one_line_per_step(tmp_path: Path) -> None:
    done = written(tmp_path, [row("one", row={"lines": (HOSTILE, "passed: -")})])
    log = files(done.folder)["logs/one.log"].decode()
    assert log.count("\n") == 2
    assert not {"\x1b", "\u202e", "\x00"} & set(log)


@contextmanager
def no_file_over(size_bytes: int) -> Iterator[None]:
    """A disk on which no larger file has room."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_while_rendering_leaves_nothing_that_reads_as_a_decision(tmp_path: Path) -> None:
    report = Report.create(tmp_path, MOMENT, redactor=Redactor(), run_id="00" * 16)
    report.manifest(MANIFEST)
    for one in GOOD:
        report.append(one)
    with no_file_over(12_000), pytest.raises(EvidenceFault, match="cannot write") as caught:
        report.finish(results(GOOD), lambda: KEY)
    assert caught.value.code == "disk-full"
    assert read_state(report.folder).state == "disk-full"
    assert not {"results.json", "SUMMARY.md", "SHA256SUMS"} & files(report.folder).keys()
    assert all(not name.startswith(".") for name in files(report.folder))
    assert verify(report.folder, wanted()).demand == "format"


def test_a_key_that_cannot_be_read_leaves_nothing_that_reads_as_a_decision(tmp_path: Path) -> None:
    def key() -> SigningKey:
        return kept_signing_key(tmp_path)

    with pytest.raises(EvidenceFault) as caught:
        written(tmp_path / "reports", key=key)
    assert caught.value.code == "not-signable"
    (folder,) = (tmp_path / "reports").iterdir()
    assert read_state(folder).state == "not-signable"
    assert not {"results.json", "SUMMARY.md", "SHA256SUMS"} & files(folder).keys()


def test_a_folder_that_cannot_be_made_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EvidenceFault) as caught:
        Report.create(tmp_path / "file" / "x", MOMENT, redactor=Redactor(), run_id="00" * 16)
    assert caught.value.code == "not-writable"


# An interrupted run.


def test_an_interrupted_run_is_none_and_can_be_gone_on_with(tmp_path: Path) -> None:
    report = Report.create(tmp_path, MOMENT, redactor=Redactor(), run_id="00" * 16)
    report.manifest(MANIFEST)
    report.append(GOOD[0], "same")
    report.append(replace(GOOD[1], outcome=FAILED), "same")
    with (report.folder / "journal.ndjson").open("ab") as journal:
        journal.write(b'{"digest": "cut in the midd')
    assert read_state(report.folder).state == "running"
    assert verify(report.folder, wanted()).demand == "format"
    rows = read_journal(report.folder)
    assert {name: (one.digest, one.entry.status) for name, one in rows.items()} == {
        "service-staging-health": ("same", "passed"),
        "service-staging-hsts": ("same", "failed"),
    }
    again = Report.reopened(report.folder, MOMENT, redactor=Redactor())
    kept = resumed_row(GOOD[0].check, rows["service-staging-health"], "00" * 16)
    for one in GOOD[1:]:
        again.append(one)
    done = again.finish(results([kept, *GOOD[1:]]), lambda: KEY)
    entry = done.document.checks[0]
    assert (entry.resumed_from, entry.measured, entry.duration_us) == ("00" * 16, {"slowest_ms": 5}, 4321)
    assert entry.evidence is not None
    assert read_state(done.folder).resumes == ("2026-05-04T03:02:01Z",)
    assert verify(done.folder, wanted(go=False)).met
    with pytest.raises(NotAReport, match="the run has finished"):
        Report.reopened(report.folder, MOMENT, redactor=Redactor())


@pytest.mark.parametrize("run", ["", "x" * 32, "00" * 15, "../" * 10, "0" * 31 + "\n"])
def test_a_state_whose_run_has_no_id_is_refused(tmp_path: Path, run: str) -> None:
    report = Report.create(tmp_path, MOMENT, redactor=Redactor(), run_id=run)
    with pytest.raises(NotAReport, match=r"run\.json is not of this format"):
        read_state(report.folder)


@pytest.mark.parametrize("line", [b"{}\n", b"x\n", b"[" * 10_000 + b"\n", b'{"digest":1,"entry":{}}\n'])
def test_a_journal_of_another_form_is_refused(tmp_path: Path, line: bytes) -> None:
    report = Report.create(tmp_path, MOMENT, redactor=Redactor(), run_id="00" * 16)
    report.append(GOOD[0], "x")
    assert isinstance(read_journal(report.folder)["service-staging-health"], Former)
    with (report.folder / "journal.ndjson").open("ab") as journal:
        journal.write(line)
    with pytest.raises(NotAReport):
        read_journal(report.folder)


def test_each_run_has_its_line_in_the_index(tmp_path: Path) -> None:
    for number in range(2):
        done = written(tmp_path, [row("one", SKIPPED)] if number else GOOD)
        line = index_line(done.document, done.folder.name, done.report_digest, done.keyid)
        append_index(done.folder.parent, line)
    lines = (tmp_path / "INDEX.tsv").read_text().splitlines()
    assert [line.split("\t")[:6] for line in lines] == [
        ["20260504T030201Z", "selfhost", "before", "gate", "GO", "1.5.0 0123abcd"],
        ["20260504T030201Z-2", "selfhost", "before", "gate", "NO-GO", "1.5.0 0123abcd"],
    ]
    assert lines[1].split("\t")[6:] == [done.report_digest, KEY.keyid]
