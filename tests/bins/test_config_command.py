"""`less-sync config`, and the options that it shares with `less-sync serve`."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from less_sync.bins.commands.app import app
from less_sync.bins.commands.setting_options import OPTIONS
from tests.bins.commands import run_less_sync
from tests.bins.environments import NEEDED, read

COMMANDS: Any = typer.main.get_command(app)


def flags(name: str) -> set[str]:
    assert isinstance(COMMANDS, TyperGroup)
    return {flag for param in COMMANDS.commands[name].params for flag in (*param.opts, *param.secondary_opts)}


def test_serve_and_config_take_the_same_options_and_each_stands_for_a_setting() -> None:
    assert flags("config") - flags("serve") == {"--changed", "--json"}
    assert flags("serve") == {f"--{option.flag}" for option in OPTIONS} | {"--dev"}
    assert {option.variable for option in OPTIONS} <= read().asked


async def test_config_shows_values_and_sources_and_warns_on_standard_error(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FEDERATION_FST_SECRET='hunter2'\nAUDIENCES=a\n")
    line = ("config", "--changed", "--env-file", str(tmp_path / "env"), "--perf-mode")
    done = await run_less_sync(*line, env=NEEDED | {"DATABASE_URL": "postgres://u:hunter3@db/sync"})
    assert done.status == 0, done.err
    assert "hunter" not in done.out + done.err
    shown = {
        name: rest.split(maxsplit=1)
        for name, rest in (row.split(maxsplit=1) for row in done.out.splitlines())
    }
    assert shown["DATABASE_URL"] == ["environment", "postgres://u:***@db/sync"]
    assert shown["FEDERATION_FST_SECRET"] == ["ENV_FILE", "***"]
    assert shown["ENV_FILE"] == ["option", str(tmp_path / "env")]
    assert shown["LIMIT_CONNECTIONS_PER_MAILBOX"] == ["PERF_MODE", "unlimited"]
    assert "LOG_LEVEL" not in shown
    assert done.err.splitlines() == [
        f"Warning: {text}"
        for text in (
            "rate limiting is disabled: IDENTITY_HASH_KEY is not set",
            "perf mode enabled: connection and rate limits are off",
            "FEDERATION_FST_SECRET is shorter than 32 bytes",
        )
    ]


async def test_config_for_programs_has_every_setting_and_the_warnings() -> None:
    done = await run_less_sync("config", "--json", "--listen", "127.0.0.1:1")
    answer = json.loads(done.out)
    assert (done.status, answer["dev_mode"], answer["warnings"]) == (0, True, [])
    shown = {row["name"]: row for row in answer["settings"]}
    assert len(shown) > 100
    assert shown["LISTEN_ADDR"] == {
        "name": "LISTEN_ADDR",
        "value": "127.0.0.1:1",
        "source": "option",
        "variable": "LISTEN_ADDR",
    }
    assert shown["PPROF_ADDR"]["value"] is None


@pytest.mark.parametrize("command", ["config", "serve"])
async def test_all_problems_are_told_with_status_1(command: str, tmp_path: Path) -> None:
    done = await run_less_sync(command, "--push-lanes", "x", env={"LISTEN_ADDR": ""}, cwd=tmp_path)
    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines() == [
        'Error: invalid LISTEN_ADDR "": invalid socket address syntax',
        'Error: invalid PUSH_LANES value "x": invalid digit found in string',
    ]
    (tmp_path / "env").write_text("A\nB")
    done = await run_less_sync(command, env={"ENV_FILE": str(tmp_path / "env"), "LISTEN_ADDR": ""})
    assert done.err.splitlines() == [
        f'Error: ENV_FILE "{tmp_path / "env"}" line {line}: expected NAME=VALUE' for line in (1, 2)
    ]
