"""The help of every command: whole sentences, each default told once, exit codes that it can return."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from less_sync.bins.commands.app import app
from less_sync.bins.commands.exit_codes import WORDS
from less_sync.client.folder.errors import ExitCode
from tests.bins.commands import run_less_sync

ROOT = typer.main.get_command(app)


def _commands(command: Any, name: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield name, command
    if isinstance(command, TyperGroup):
        for word, sub in command.commands.items():
            yield from _commands(sub, (*name, word))


COMMANDS = dict(_commands(ROOT))
GROUPS = [name for name, command in COMMANDS.items() if isinstance(command, TyperGroup)]
OF_A_SPACE = [name[1] for name in COMMANDS if name[:1] == ("space",) and len(name) == 2]


@pytest.mark.parametrize("name", GROUPS, ids=" ".join)
async def test_no_summary_of_a_command_is_cut(name: tuple[str, ...]) -> None:
    _, _, listed = (await run_less_sync(*name, "--help")).out.partition(
        "\nCommands:\n" if name else "\nServer:\n"
    )
    # What stands behind the list is about the group's own command.
    told = [line for line in listed.partition("\n\n  Exit codes")[0].splitlines() if line.startswith("  ")]
    assert sorted(line.split()[0] for line in told) == sorted(COMMANDS[name].commands)
    assert "..." not in listed


async def test_what_is_for_operators_is_listed_apart() -> None:
    out = (await run_less_sync("--help")).out
    server, folders = out.partition("\nServer:\n")[2].split("\nFolders:\n")
    assert server.split()[0] == "serve"
    assert {"admin", "backup", "doctor"} < set(server.split())
    assert {"push", "space", "trash"} < set(folders.split())


@pytest.mark.parametrize("name", [one for one in COMMANDS if one not in GROUPS], ids=" ".join)
def test_every_command_says_what_its_exit_codes_mean(name: tuple[str, ...]) -> None:
    if name == ("federation-keygen",):  # the program of that name prints its own help
        return
    epilog = COMMANDS[name].epilog or ""
    if name[0] == "validate":  # whose codes are answers (docs/validation.md 2)
        assert re.match(r"Exit codes: 0 .*\b2 wrong usage", epilog)
    else:
        assert "Exit codes: 0 done, 1 failed, 2" in epilog


@pytest.mark.parametrize("name", COMMANDS, ids=" ".join)
def test_no_default_is_told_twice(name: tuple[str, ...]) -> None:
    with typer.Context(COMMANDS[name]) as context:
        for param in COMMANDS[name].params:
            record = param.get_help_record(context)
            assert record is None or record[1].count("default") < 2, record


@pytest.mark.parametrize("word", OF_A_SPACE)
async def test_a_command_of_a_space_lists_the_exit_codes_that_it_can_return(word: str) -> None:
    shown = " ".join((await run_less_sync("space", word, "--help")).out.split())
    listed = re.search(r"Exit codes: (.*)\.$", shown)
    assert listed is not None
    codes = {int(one.split()[0]) for one in re.split(r", (?=\d)", listed[1])}
    assert {ExitCode.OK, ExitCode.FAILURE, ExitCode.USAGE} < codes <= WORDS.keys()
    server = {ExitCode.TOKEN_REFUSED, ExitCode.SERVER_UNREACHABLE}
    # What works without a server says so; only entering a space pulls.
    assert (server <= codes) is (word not in {"invite-token", "explain", "recover"})
    assert (ExitCode.SKIPPED in codes) is (ExitCode.ROLLED_BACK in codes) is (word in {"join", "accept"})


def test_the_three_words_of_sharing_are_each_explained_once() -> None:
    text = COMMANDS[("space",)].help or ""
    for start in ("A token lets", "A bundle is", "An invitation is"):
        assert text.count(start) == 1
    for word, others in (
        ("invite-token", "`invite`"),
        ("join", "`accept`"),
        ("invite", "`invite-token`"),
        ("accept", "`join`"),
    ):
        assert others in (COMMANDS[("space", word)].help or "")
