"""What the program prints and returns before a server runs, how it logs, and what it costs to start."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from less_sync.bins.errors import CommandError
from less_sync.bins.installed import volume_parts
from less_sync.bins.supervisor import Ended
from less_sync.bins.volume.logs import configure_logging, log_ended
from less_sync.bins.volume.program import run
from less_sync.volume.logs import Logger

SLOW = ("typer", "click", "structlog", "PIL", "httpcore", "prometheus_client", "rich", "argparse", "jwt")


def test_nothing_slow_is_imported_for_a_start() -> None:
    code = (
        "import sys, less_sync.bins.volume.program, less_sync.bins.volume.logs, less_sync.bins.supervisor\n"
        "import less_sync.volume.server\n"
        f"print([name for name in {SLOW} if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_a_volume_server_reports_without_the_libraries_of_the_other_server() -> None:
    others = ("structlog", "prometheus_client", "starlette", "asyncpg", "httpx", "uvicorn")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({others}))
import less_sync.bins.reporting.volume, less_sync.bins.settings.reporter
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("arguments", [["-h"], ["volume", "--help"], ["-port=x"], ["-what"], ["-max"]])
def test_help_and_a_wrong_line_show_the_usage_and_end_with_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments, "less-sync-volume", {}) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "Usage: less-sync-volume [volume] [-flag=value ...]\n" in shown.err
    assert "\n  -port int\n      port of the admin HTTP listener (default 8080)\n" in shown.err


def test_a_variable_that_is_no_value_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([], "less-sync-volume", {"IDLETIMEOUT": "abc"}) == 2
    assert capsys.readouterr().err.startswith(
        'invalid value "abc" for environment variable idleTimeout: parse error\n'
    )


def test_a_directory_that_will_not_do_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([f"-dir={tmp_path}/absent"], "less-sync-volume", {}) == 1
    assert capsys.readouterr().err.startswith("Error: Check Data Folder(-dir) Writable ")


def test_a_library_that_is_missing_is_said_in_words() -> None:
    with pytest.raises(CommandError, match=r"pip install 'less-sync\[volume\]'"), volume_parts():
        import a_library_that_is_missing  # type: ignore[import-not-found]  # noqa: F401
    with pytest.raises(ModuleNotFoundError), volume_parts():
        import less_sync.a_module_that_is_missing  # type: ignore[import-not-found]  # noqa: F401


@pytest.fixture
def untouched_logging() -> Iterator[None]:
    """Gives the process its own logging back."""
    root, own = logging.getLogger(), logging.getLogger("less_sync")
    kept = (root.handlers[:], root.level, own.level)
    yield
    root.handlers[:] = kept[0]
    root.setLevel(kept[1])
    own.setLevel(kept[2])


@pytest.mark.usefixtures("untouched_logging")
def test_lines_have_the_form_of_the_other_server() -> None:
    stream = io.StringIO()
    configure_logging(level="info", form="text", stream=stream)
    log = Logger("less_sync.volume.x")
    log.debug("unseen")
    log.info("volume loaded", volume=3, name="two words")
    try:
        raise ValueError("a client's secret")
    except ValueError as fault:
        log.error("write failed", fault=fault, volume=3)
    logging.getLogger("a.library").warning("template %s\nmore", "argument")
    logging.getLogger("a.library").info("unseen")
    log_ended(Ended("heartbeat", None))
    lines = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines[0] == 'INFO  volume loaded volume=3 name="two words"'
    assert lines[1].startswith('ERROR write failed volume=3 fault="ValueError at test_program.py:')
    assert lines[2:] == [
        "WARN  template %s source=a.library",
        "ERROR a vital task has ended task=heartbeat",
    ]
    assert "secret" not in stream.getvalue()


@pytest.mark.usefixtures("untouched_logging")
def test_json_lines_and_levels() -> None:
    stream = io.StringIO()
    configure_logging(level="warn", form="json", stream=stream)
    log = Logger("less_sync.volume.x")
    log.info("unseen")
    log.warning("disk is low", free=7)
    (line,) = map(json.loads, stream.getvalue().splitlines())
    assert list(line) == ["ts", "level", "msg", "free"]
    assert (line["level"], line["msg"], line["free"]) == ("warn", "disk is low", 7)
    configure_logging(level="off", form="json", stream=stream)
    log.error("unseen")
    assert len(stream.getvalue().splitlines()) == 1
