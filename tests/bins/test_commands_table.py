"""The table of all commands in docs/operations.md 3.3, held against the commands that there are."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from less_sync.bins.commands.app import app

ROOT = Path(__file__).parents[2]


def leaves(command: Any, name: str = "less-sync") -> Iterator[tuple[str, Any]]:
    if isinstance(command, TyperGroup):
        if command.invoke_without_command and name != "less-sync":
            yield name, command
        for word, sub in command.commands.items():
            yield from leaves(sub, f"{name} {word}")
    else:
        yield name, command


def listed() -> dict[str, str]:
    page = (ROOT / "docs/operations.md").read_text()
    section = page.partition("### 3.3 All commands\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*?) \|$", section, flags=re.MULTILINE)
    assert len(rows) == len({name for name, *_ in rows})
    assert all(place for *_, place in rows)
    return {name: words for name, words, _ in rows}


def test_every_command_is_in_the_table_with_its_summary_and_no_other() -> None:
    commands = {
        name: command.get_short_help_str(200).rstrip(".")
        for name, command in leaves(typer.main.get_command(app))
    }
    assert {name: words for name, words in listed().items() if name.startswith("less-sync ")} == commands


def test_every_program_is_in_the_table() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {name for name in listed() if " " not in name} == scripts.keys() - {"less-sync"}
