"""The line that starts a server is read without the library of the other commands, and as that reads it."""

from collections.abc import Mapping

import pytest
import typer
from typer.testing import CliRunner

from less_sync.bins.commands.main import ServeLine, serve_line
from less_sync.bins.commands.setting_options import OPTIONS, takes_settings

EACH = [
    argument
    for number, option in enumerate(OPTIONS)
    for argument in ([f"--{option.flag}"] if option.metavar is None else [f"--{option.flag}", f"v{number}"])
]
READ = [
    [],
    ["--dev"],
    EACH,
    ["--listen=127.0.0.1:0", "--log-level=debug", "--dev", "--dev"],
    ["--listen", "a", "--listen", "b"],
    ["--env-file=", "--data-dir", ""],
    ["--database-url", "postgresql://u:p@h/d?a=b"],
]
NOT_READ = [
    ["--help"],
    ["-h"],
    ["--listen"],
    ["--listen", "-5"],
    ["--listen=-5"],
    ["--lis", "a"],
    ["--perf-mode=yes"],
    ["--dev=1"],
    ["more"],
    ["--"],
    ["--unknown", "a"],
]


def as_the_library_reads(arguments: list[str]) -> ServeLine:
    """What the command is called with."""
    called: list[ServeLine] = []
    app = typer.Typer()

    @app.command()
    @takes_settings
    def serve(*, options: Mapping[str, str], dev: bool) -> None:
        called.append(ServeLine(dict(options), dev))

    finished = CliRunner().invoke(app, arguments)
    assert finished.exit_code == 0, finished.output
    return called[0]


@pytest.mark.parametrize("arguments", READ)
def test_a_line_is_read_as_the_library_reads_it(arguments: list[str]) -> None:
    assert serve_line(["serve", *arguments]) == as_the_library_reads(arguments)


@pytest.mark.parametrize("arguments", NOT_READ)
def test_what_is_not_understood_is_left_to_the_library(arguments: list[str]) -> None:
    assert serve_line(["serve", *arguments]) is None


@pytest.mark.parametrize("line", [[], ["config"], ["--version"], ["--help", "serve"]])
def test_other_commands_are_left_to_the_library(line: list[str]) -> None:
    assert serve_line(line) is None
