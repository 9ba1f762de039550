"""Commands of the operator: split and filled in, bounded, and stopped with all that they started."""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from less_sync.validation.attempt import attempted
from less_sync.validation.checks.command import PROCEDURES, at, pairs
from less_sync.validation.context import Context, Run
from less_sync.validation.hooks import Ran, filled, hook, run_command, words_of
from less_sync.validation.inputs import Inputs
from less_sync.validation.manifest import declared
from less_sync.validation.matrix import Check
from less_sync.validation.outcome import Broken, CheckEnd, Faulty, Outcome, Status
from tests.validation.matrices import check, run_of

PYTHON = sys.executable
ENVIRONMENT = {"PATH": os.environ["PATH"]}


def program(source: str) -> tuple[str, ...]:
    return (PYTHON, "-I", "-S", "-c", source)


async def ran(source: str, *, timeout_s: float = 10.0, output_bytes_max: int = 1000) -> Ran:
    return await run_command(
        program(source), ENVIRONMENT, timeout_s=timeout_s, output_bytes_max=output_bytes_max
    )


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def gone(pid: int) -> bool:
    for _ in range(200):
        if not is_alive(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def pid_in(path: Path) -> int:
    for _ in range(500):
        if path.exists() and path.read_text():
            return int(path.read_text())
        await asyncio.sleep(0.02)
    raise AssertionError("the child was not started")


def forking(path: Path, then: str) -> str:
    """A program whose child outlives it, in the same group, holding its output."""
    child = f"import os, time; open({str(path)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    started = (
        f"import subprocess, sys, os, time; subprocess.Popen([sys.executable, '-c', {child!r}]);"
        f"\npath = {str(path)!r}"
        "\nwhile not os.path.exists(path) or not open(path).read(): time.sleep(0.01)\n"
    )
    return started + then


def test_words_are_those_of_a_shell_and_nothing_in_them_is_for_one() -> None:
    assert words_of("a 'b c' \"d e\" $HOME `x` ; rm") == ("a", "b c", "d e", "$HOME", "`x`", ";", "rm")


def test_a_placeholder_is_replaced_in_its_word_and_what_is_put_in_is_left_alone() -> None:
    values = {"port": "1 2'{name}", "name": "x"}
    assert words_of("serve --listen={port} '{name} {port}' {other}", values) == (
        "serve",
        "--listen=1 2'{name}",
        "x 1 2'{name}",
        "{other}",
    )
    assert filled(["{port}{port}"], {"port": "5"}) == ("55",)


@pytest.mark.parametrize("command", ["", "  ", "a 'b"])
def test_what_cannot_be_split_is_no_command(command: str) -> None:
    with pytest.raises(Broken, match="command-not-split"):
        words_of(command)


async def test_a_command_gets_this_environment_and_no_input() -> None:
    done = await ran("import os, sys; print(sorted(os.environ)); print(repr(sys.stdin.read()))")
    assert done.status == 0
    names, read = done.output.decode().splitlines()
    assert set(eval(names)) - {"LC_CTYPE"} == {"PATH"}  # which the interpreter sets itself
    assert read == "''"


async def test_status_output_and_the_last_errors_are_told() -> None:
    done = await ran("import sys; print('out'); [print(i, file=sys.stderr) for i in range(30)]; sys.exit(3)")
    assert (done.status, done.output) == (3, b"out\n")
    assert done.errors == tuple(str(number) for number in range(10, 30))


async def test_json_of_a_command_is_parsed_or_refused() -> None:
    assert (await ran("print('{\"a\": 1}')")).json() == {"a": 1}
    with pytest.raises(Faulty, match="not-json"):
        (await ran("print('a')")).json()
    with pytest.raises(Faulty, match="not-json"):
        (await run_command(program("print('[' * 5000)"), ENVIRONMENT, timeout_s=10.0)).json()


async def test_a_program_that_is_not_there_is_told() -> None:
    with pytest.raises(Broken, match="command-not-found"):
        await run_command(("/nowhere/program",), ENVIRONMENT, timeout_s=10.0)


async def test_a_flood_ends_the_command() -> None:
    with pytest.raises(Broken, match="command-output"):
        await ran("while True: print('x' * 1000)")


async def test_a_flood_of_errors_is_read_and_forgotten() -> None:
    done = await ran("import sys; sys.stderr.write('x' * 3_000_000); print('done')")
    assert (done.output, len(done.errors)) == (b"done\n", 1)


async def test_a_command_that_hangs_ends_with_its_children(tmp_path: Path) -> None:
    began_s = time.monotonic()
    with pytest.raises(Broken, match="command-timeout"):
        await ran(forking(tmp_path / "pid", "time.sleep(600)"), timeout_s=1.0)
    assert time.monotonic() - began_s < 20
    assert await gone(await pid_in(tmp_path / "pid"))


async def test_a_child_that_keeps_the_output_neither_holds_the_command_up_nor_outlives_it(
    tmp_path: Path,
) -> None:
    done = await ran(forking(tmp_path / "pid", "print('over', flush=True)"), timeout_s=300.0)
    assert (done.status, done.output) == (0, b"over\n")
    assert await gone(await pid_in(tmp_path / "pid"))


async def test_a_cancelled_command_ends_with_its_children(tmp_path: Path) -> None:
    task = asyncio.create_task(ran(forking(tmp_path / "pid", "time.sleep(600)"), timeout_s=300.0))
    child = await pid_in(tmp_path / "pid")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(child)


@pytest.mark.parametrize("wait_s", [0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.05])
async def test_whenever_it_is_cancelled_nothing_is_left_running(wait_s: float) -> None:
    mark = f"less-sync-hook-{os.getpid()}-{wait_s}"
    task = asyncio.create_task(
        run_command((*program("import time; time.sleep(600)"), mark), ENVIRONMENT, timeout_s=300.0)
    )
    await asyncio.sleep(wait_s)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not [
        path
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if mark.encode() in _content(path) and is_alive(int(path.parent.name))
    ]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def context_of(environment: dict[str, str], parameters: dict[str, object]) -> tuple[Check, Run]:
    procedure = PROCEDURES[0]
    defaults = {name: one.default for name, one in procedure.parameters.items()}
    row = check("custom", procedure=procedure, lane="custom", parameters=defaults | parameters)
    run = run_of(row)
    run.inputs = Inputs({}, environment)
    return row, run


async def outcome(argv: Sequence[str], **parameters: object) -> Outcome:
    row, run = context_of(ENVIRONMENT, {"argv": tuple(argv)} | parameters)
    return (await attempted(row, run)).outcome


PASSED = Outcome(Status.PASSED)
DIGEST_OF_X = "73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac"
DIGEST_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
PRINTS = program("""print('{"status": "ok", "list": [1, {"a/b": true}]}')""")


@pytest.mark.parametrize(
    ("argv", "parameters", "reason"),
    [
        (program(""), {}, "-"),
        (program("raise SystemExit(3)"), {"exit": 3}, "-"),
        (program("raise SystemExit(3)"), {}, "exit:3"),
        (program(""), {"exit": 3}, "exit:0"),
        (program(""), {"json": ('/status="ok"',)}, "no-output"),
        (
            program(""),
            {"stdout_sha256": DIGEST_OF_NOTHING},
            "no-output",
        ),
        (program("print('x')"), {"json": ('/status="ok"',)}, "not-json"),
        (PRINTS, {"json": ('/status="ok"', "/list/0=1", "/list/1/a~1b=true")}, "-"),
        (PRINTS, {"json": ('/status="fine"',)}, "json:/status"),
        (PRINTS, {"json": ("/list/0=true",)}, "json:/list/0"),
        (PRINTS, {"json": ("/list/1/a~1b=1",)}, "json:/list/1/a?1b"),
        (PRINTS, {"json": ("/list/2=1",)}, "json:/list/2"),
        (PRINTS, {"json": ("/none=null",)}, "json:/none"),
        (
            program("print('x')"),
            {"stdout_sha256": DIGEST_OF_X},
            "-",
        ),
        (
            program("print('y')"),
            {"stdout_sha256": DIGEST_OF_X},
            "stdout",
        ),
    ],
)
async def test_a_check_of_the_operators_own_is_judged_by_all_that_it_asks_for(
    argv: Sequence[str], parameters: dict[str, object], reason: str
) -> None:
    seen = await outcome(argv, **parameters)
    assert seen == (PASSED if reason == "-" else Outcome(Status.FAILED, reason))


async def test_a_check_without_a_command_or_that_asks_for_no_json_passes_never() -> None:
    assert await outcome(()) == Outcome(Status.ERROR, "no-argv")
    assert await outcome(PRINTS, json=("status",)) == Outcome(Status.ERROR, "json-wanted")
    assert await outcome(PRINTS, variables=("NOT_SET",)) == Outcome(Status.BLOCKED, "input:NOT_SET")
    assert await outcome(("/nowhere",)) == Outcome(Status.ERROR, "command-not-found")


async def test_named_variables_reach_the_command_and_a_secret_one_is_masked() -> None:
    source = "import os; raise SystemExit(os.environ['MY_TOKEN'] != 'abcdefgh' or 'B' in os.environ)"
    row, run = context_of(
        ENVIRONMENT | {"MY_TOKEN": "abcdefgh", "B": "b"},
        {"argv": program(source), "variables": ("MY_TOKEN",)},
    )
    assert (await attempted(row, run)).outcome == PASSED
    assert run.redactor.known["abcdefgh"] == "MY_TOKEN"


def test_the_table_of_a_manifest_is_held_as_texts() -> None:
    text = """
        format = 1
        kind = "rollback"
        name = "own"
        title = "Own"
        valid_for_s = 60
        [[checks]]
        id = "feed"
        uses = "command"
        with = { argv = ["feed"], json = { "" = { z = 1, y = 2 }, "/a" = "x=y", "/b" = true } }
    """
    made = declared(text, "own.toml", catalogue={one.name: one for one in PROCEDURES}, environment={})
    held = made.checks[0].parameters["json"]
    assert held == ('={"y": 2, "z": 1}', '/a="x=y"', "/b=true")
    assert pairs(held) == [("", {"y": 2, "z": 1}), ("/a", "x=y"), ("/b", True)]
    assert at({"a": [10, 20]}, "/a/1") == 20


async def test_evidence_has_arguments_status_and_output_of_a_hook(tmp_path: Path) -> None:
    row, run = context_of(ENVIRONMENT, {})
    context = Context(row, run, stream=None)  # type: ignore[arg-type]  # not used here
    await hook(context, program("print('weight 5')"))
    assert "exit 0\nweight 5" in context.evidence.text
    with pytest.raises(CheckEnd, match="command-timeout"):
        await hook(context, program("import time; time.sleep(600)"), timeout_s=0.3)
    assert "stopped\ncommand-timeout" in context.evidence.text


async def test_a_guarded_command_ends_with_whoever_started_it_however_that_ends(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    child = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    source = (
        "import asyncio, sys\n"
        "from less_sync.validation.hooks import run_command\n"
        f"argv = (sys.executable, '-I', '-S', '-c', {child!r})\n"
        "asyncio.run(run_command(argv, {}, timeout_s=600, guarded=True))\n"
    )
    parent = await asyncio.create_subprocess_exec(PYTHON, "-c", source)
    number = await pid_in(pid)
    parent.kill()
    await parent.wait()
    assert await gone(number)
