"""`less-sync volume check` and `less-sync volume export`, as functions with arguments."""

import signal
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from less_sync.bins.volume.check_work import check_volumes
from less_sync.bins.volume.export_work import export_volumes
from tests.volume.engine.plain_volume import Plain
from tests.volume.volume_files import copy_volume

Work = Callable[[list[str]], int]


def test_an_orderly_directory_is_status_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = copy_volume("crash/ok", tmp_path)
    assert check_volumes([str(directory)]) == 0
    assert capsys.readouterr() == ("1: 5 files, 387 B, in order\n1 volume, nothing is wrong\n", "")


def test_what_is_wrong_is_said_with_what_a_start_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = copy_volume("crash/dat_half_last", tmp_path)
    (directory / "5.dat").write_bytes(b"lone")
    assert check_volumes([str(directory)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "1: 4 files, 321 B",
        "  wrong: no record for 1 row at the end of the index",
        "  wrong: 24 bytes at the end of the data are no whole record",
        "  a start would: drop 1 row",
        "  a start would: cut them, with a copy beside the volume unless they are all zeros",
        "5.dat: 0 files, 0 B",
        "  wrong: neither an index nor a volume info is beside it: no server sees it",
        "  a start would: none; with an empty 5.idx beside it a start would build its index",
        "2 volumes, 2 with faults",
    ]


def test_an_index_elsewhere_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = copy_volume("crash/ok", tmp_path)
    elsewhere = tmp_path / "index"
    elsewhere.mkdir()
    (directory / "1.idx").rename(elsewhere / "1.idx")
    assert check_volumes([str(directory), "--index-dir", str(elsewhere)]) == 0
    assert check_volumes([str(directory)]) == 1
    assert "the index is missing" in capsys.readouterr().out


@pytest.mark.parametrize("work", [check_volumes, export_volumes])
@pytest.mark.parametrize(
    "arguments", [[], ["/nowhere/at/all"], [".", "--offset-bytes", "6"], [".", "--unknown"]]
)
def test_wrong_usage_is_status_2(
    work: Work, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert work(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("work", [check_volumes, export_volumes])
def test_help_names_the_statuses(work: Work, capsys: pytest.CaptureFixture[str]) -> None:
    assert work(["--help"]) == 0
    assert "Exit codes: 0" in capsys.readouterr().out


def test_an_export_is_a_tar_under_its_name_and_takes_no_other_ones_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = copy_volume("crash/ok", tmp_path)
    target = tmp_path / "all.tar"
    assert export_volumes([str(directory), "--to", str(target)]) == 0
    assert capsys.readouterr().err == "5 files exported, 147 B; 0 expired, 0 damaged\n"
    with tarfile.open(target) as tar:
        assert tar.getnames()[0].startswith("1/")
    assert export_volumes([str(directory), "--to", str(target)]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.tar", "crash_ok"]


def test_what_is_left_out_is_named_and_status_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = copy_volume("crash/crc_bad_first", tmp_path)
    assert export_volumes([str(directory), "--to", str(tmp_path / "all.tar")]) == 1
    assert capsys.readouterr().err.startswith("Warning: 1: needle 1 left out: invalid CRC")


def _run(name: str, directory: Path) -> list[str]:
    code = f"import sys; from less_sync.bins.volume.{name}_work import {name}_volumes as work; "
    return [sys.executable, "-c", f"{code}sys.exit(work(sys.argv[1:]))", str(directory)]


def _large(directory: Path) -> Path:
    plain = Plain.new()
    plain.put(1, bytes(32 << 20))
    plain.write(directory)
    return directory


def test_a_tar_goes_to_standard_output_and_a_reader_that_goes_ends_it(tmp_path: Path) -> None:
    directory = _large(tmp_path)
    with subprocess.Popen(
        _run("export", directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == b"7/n\0\0"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


def test_an_interrupt_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    directory = _large(tmp_path)
    with subprocess.Popen(
        _run("export", directory), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.stderr.read() == b""
        assert process.wait(30) == 130
