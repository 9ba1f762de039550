"""The `less-sync` command: options, errors, exit codes, tokens."""

import asyncio
import json
import os
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest

from tests.bins.commands import run_less_sync

USAGE = "Usage: "


def claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    document: dict[str, Any] = json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return document


async def test_version_and_help_end_with_status_0() -> None:
    version = await run_less_sync("--version", fresh=True)
    assert (version.status, version.err) == (0, "")
    assert version.out.startswith("less-sync 0.")
    for arguments in (("--help",), ("serve", "--help"), ("token", "-h")):
        shown = await run_less_sync(*arguments, fresh=True)
        assert (shown.status, shown.err) == (0, "")
        assert shown.out.strip().startswith(USAGE)


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-command",),
        ("serve", "--no-such-option"),
        ("serve", "extra"),
        ("token",),
        ("token", "--user", "alice", "--ttl", "soon"),
        ("token", "--user", "alice", "--ttl", "0"),
        ("token", "--user", "alice", "--ttl", "99999999d"),
        ("token", "--user", ""),
    ],
)
async def test_a_usage_error_is_told_on_standard_error_with_status_2(
    arguments: tuple[str, ...], tmp_path: Path
) -> None:
    finished = await run_less_sync(*arguments, env={"DATA_DIR": str(tmp_path)})
    assert (finished.status, finished.out) == (2, "")
    assert finished.err.startswith(USAGE)
    assert "Traceback" not in finished.err


async def test_all_problems_of_the_settings_are_told_one_block_each() -> None:
    env = {"DATABASE_URL": "", "LOG_LEVEL": "loud", "IDENTITY_HASH_KEY": "x"}
    finished = await run_less_sync("serve", "--listen", "nowhere", env=env)
    assert (finished.status, finished.out) == (1, "")
    assert finished.err.splitlines() == [
        'Error: invalid LISTEN_ADDR "nowhere": invalid socket address syntax',
        "Error: database error: error with configuration: relative URL without a base",
        "Error: TRUSTED_ISSUERS must be set",
        "Error: IDENTITY_HASH_KEY must be valid hex",
        'Error: invalid LOG_LEVEL value "loud": '
        'expected one of "off", "error", "warn", "info", "debug", "trace"',
    ]


async def test_an_option_wins_over_its_variable() -> None:
    names = {
        "--listen": "LISTEN_ADDR",
        "--database-url": "DATABASE_URL",
        "--data-dir": "DATA_DIR",
        "--trusted-issuers": "TRUSTED_ISSUERS",
        "--issuers-file": "ISSUERS_FILE",
        "--database-max-connections": "DATABASE_MAX_CONNECTIONS",
        "--push-lanes": "PUSH_LANES",
        "--shutdown-grace-seconds": "SHUTDOWN_GRACE_SECONDS",
        "--log-level": "LOG_LEVEL",
        "--log-format": "LOG_FORMAT",
    }
    good = {
        "DATABASE_URL": "postgres://h/d",
        "TRUSTED_ISSUERS": "https://a",
        "LISTEN_ADDR": ":1",
        "DATA_DIR": "d",
    }
    bad = [part for option in names for part in (option, "" if option == "--data-dir" else "?")]
    finished = await run_less_sync("serve", *bad, env=good | {"PUSH_LANES": "1"})
    assert finished.status == 1
    assert len(finished.err.splitlines()) == len(names)


async def test_dev_mode_may_be_asked_for_with_a_database_but_not_on_an_open_address() -> None:
    arguments = ("serve", "--dev", "--database-url", "postgres://127.0.0.1:1/x", "--listen", "0.0.0.0:0")
    finished = await run_less_sync(*arguments)
    assert finished.status == 1
    assert finished.err.startswith(
        'Error: dev mode listens on loopback only, not on "0.0.0.0:0": set TRUSTED_ISSUERS'
    )


async def test_token_mints_one_for_the_data_directory_and_says_when_its_issuer_is_new(tmp_path: Path) -> None:
    first = await run_less_sync("token", "--user", "alice", env={"DATA_DIR": str(tmp_path)})
    assert first.status == 0
    assert first.err.startswith(f"note: {tmp_path} had no issuer yet")
    again = await run_less_sync("token", "--user", "alice", "--ttl", "90m", "--data-dir", str(tmp_path))
    assert (again.status, again.err, again.out.count("\n")) == (0, "", 1)
    before, after = claims(first.out.strip()), claims(again.out.strip())
    assert (before["exp"] - before["iat"], after["exp"] - after["iat"]) == (86_400, 5400)
    same = ("iss", "sub", "did", "personal_space_id", "mailbox_id")
    assert [before[name] for name in same] == [after[name] for name in same]
    other = await run_less_sync("token", "--user", "bob", "--did", "did:key:z", "--data-dir", str(tmp_path))
    assert claims(other.out.strip())["did"] == "did:key:z"


async def test_a_data_directory_that_cannot_be_written_is_an_error_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for arguments in (("token", "--user", "alice"), ("serve", "--listen", "127.0.0.1:0")):
        finished = await run_less_sync(*arguments, env={"DATA_DIR": str(tmp_path / "file")})
        assert finished.status == 1
        assert finished.err.startswith("Error: ")
        assert str(tmp_path / "file") in finished.err
        assert "Traceback" not in finished.err


async def test_completion_can_be_shown_for_a_shell() -> None:
    env = {"_LESS_SYNC_COMPLETE": "complete_bash", "COMP_WORDS": "less-sync se", "COMP_CWORD": "1"}
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("less-sync")),
        env=os.environ | env,
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await process.communicate())[0].split() == [b"serve"]


async def test_the_collector_is_held_while_a_supervisor_is_loaded_and_not_for_its_life(
    tmp_path: Path,
) -> None:
    code = (
        "import gc, socket; taken = socket.create_server(('127.0.0.1', 0))\n"
        "from less_sync.bins.commands.serve import serve\n"
        "from less_sync.bins.errors import CommandError\n"
        "options = {'LISTEN_ADDR': f'127.0.0.1:{taken.getsockname()[1]}', 'WORKERS': '2'}\n"
        "try: serve(options=options, dev=True)\n"
        "except CommandError: print(gc.isenabled())"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=tmp_path, stdout=asyncio.subprocess.PIPE
    )
    assert (await process.communicate())[0].splitlines()[-1] == b"True"


async def test_minting_a_token_does_not_load_the_server() -> None:
    code = (
        "import sys; sys.argv = ['less-sync', 'token', '--help']\n"
        "import less_sync.bins.commands.main\n"
        "try: less_sync.bins.commands.main.main()\n"
        "finally: print(sorted({'uvicorn', 'asyncpg', 'uvloop', 'rich', 'cbor2'} & set(sys.modules)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0].splitlines()[-1] == b"[]"
