"""What a run is told, and what is wrong with it, before anything is contacted."""

import re
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from less_sync.validation.inputs import VARIABLES, read_inputs
from less_sync.validation.plan import BACKUP_FIRST, Plan, Problems, Wishes, plan
from tests.validation.matrices import CATALOGUE

OWN = """\
format = 1
kind = "{kind}"
name = "small"
title = "A small one"
valid_for_s = 60

[targets.staging]
base_url = "https://staging.example"

[[checks]]
id = "health"
uses = "health"
target = "staging"

[[checks]]
id = "headers"
uses = "headers"
needs = ["health"]

[[checks]]
id = "slow"
uses = "slow"
lane = "auth"
feature = "federation"
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A manifest of its own."""
    path = tmp_path / "own.toml"
    path.write_text(OWN.format(kind="rollback"))
    return path


def planned(path: Path, wishes: Wishes | None = None, **environment: str) -> Plan:
    """A plan over the small catalogue; its built-in manifest is the file itself."""
    whole = replace(wishes or Wishes(), manifest=path)
    env = {"PROD_BASE_URL": "https://sync.example"} | environment
    return plan(whole, env, catalogue=CATALOGUE, built_in_text=lambda _kind: path.read_text())


def problems(path: Path, wishes: Wishes | None = None, **environment: str) -> tuple[str, ...]:
    with pytest.raises(Problems) as caught:
        planned(path, wishes, **environment)
    return caught.value.problems


@pytest.mark.parametrize("word", ["1", "true", "TRUE", "Yes", "on", ""])
def test_a_gate_is_a_gate_in_every_spelling(own: Path, word: str) -> None:
    assert not planned(own, FAIL_ON_REQUIRED_FAILURE=word).baseline


@pytest.mark.parametrize("word", ["0", "false", "No", "OFF"])
def test_a_baseline_is_one_in_every_spelling(own: Path, word: str) -> None:
    assert planned(own, FAIL_ON_REQUIRED_FAILURE=word).baseline


@pytest.mark.parametrize("word", ["ture", "2", "nope", " 1"])
def test_a_word_that_means_neither_switches_nothing_off(own: Path, word: str) -> None:
    told = "is neither 1, true, yes, on nor 0, false, no, off"
    assert problems(own, FAIL_ON_REQUIRED_FAILURE=word) == (f"FAIL_ON_REQUIRED_FAILURE: {word!r} {told}",)


def test_option_and_variable_may_not_contradict_each_other(own: Path) -> None:
    assert planned(own, Wishes(mode="baseline")).baseline
    assert planned(own, Wishes(mode="baseline"), FAIL_ON_REQUIRED_FAILURE="0").baseline
    told = problems(own, Wishes(mode="baseline"), FAIL_ON_REQUIRED_FAILURE="yes")
    assert told == ("--mode baseline contradicts FAIL_ON_REQUIRED_FAILURE=yes",)
    assert len(problems(own, Wishes(mode="gate"), FAIL_ON_REQUIRED_FAILURE="0")) == 1


def test_all_problems_are_told_before_anything_is_contacted(own: Path) -> None:
    told = problems(
        own,
        Wishes(lanes=("parity",), checks=("nobody",)),
        FAIL_ON_REQUIRED_FAILURE="maybe",
        RUN_AUTH="perhaps",
        PROD_BASE_URL="",
        STAGING_ACCESS_TOKEN="short",
        STAGING_USER_KEY="long enough a key",
        STAGING_USER_KEY_COMMAND="cat key",
    )
    assert [one.split(":")[0].split(" ")[0] for one in told] == [
        "STAGING_ACCESS_TOKEN",
        "STAGING_USER_KEY",
        "FAIL_ON_REQUIRED_FAILURE",
        "RUN_AUTH",
        "PROD_BASE_URL",
        "--lane",
        "--check",
    ]
    assert "short" not in told[0].replace("too few", "")


def test_what_is_not_selected_or_switched_off_or_does_not_apply_is_decided_beforehand(own: Path) -> None:
    made = planned(own, Wishes(checks=("headers",)), RUN_SERVICE="0")
    presets = {check.id: made.preset(check) for check in made.manifest.checks}
    assert {name: None if one is None else one.reason for name, one in presets.items()} == {
        "health": "switched-off",
        "headers": "switched-off",
        "slow": "not-applicable:federation",
    }
    made = planned(own, Wishes(checks=("headers",)))
    assert made.narrowed
    assert made.selected == {"headers", "health"}  # which it needs
    assert planned(own).selected == {"health", "headers", "slow"}
    assert not planned(own).narrowed


def test_a_policy_is_accepted_by_its_digest_alone(own: Path) -> None:
    looser = Wishes(settings=(("checks.health.required", "false"),))
    made = planned(own, looser)
    assert [(one.check_id, one.key) for one in made.looser] == [("health", "required")]
    assert not made.accepted
    again = Wishes(settings=looser.settings, accept_policy=made.policy)
    assert planned(own, again).accepted
    other = Wishes(settings=(("checks.headers.required", "false"),), accept_policy=made.policy)
    assert not planned(own, other).accepted


def test_a_single_operator_is_told_to_make_a_backup_and_not_to_mix_kinds(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    text = OWN.format(kind="selfhost").replace('base_url = "https://staging.example"', "scratch = true")
    path.write_text(text)
    assert problems(path) == (BACKUP_FIRST,)
    assert planned(path, BACKUP_DIR=str(tmp_path)).manifest.kind == "selfhost"
    told = problems(path, BACKUP_DIR=str(tmp_path), STAGING_BASE_URL="https://staging.example")
    assert told[0] == (
        "STAGING_BASE_URL is set, and kind selfhost starts its servers itself: did you mean --kind cutover?"
    )


@pytest.mark.parametrize("way", ["env", "file", "command"])
def test_a_secret_comes_from_a_variable_a_file_or_a_command(tmp_path: Path, way: str) -> None:
    path = tmp_path / "secret"
    path.write_text("-----BEGIN KEY-----\nabc\n-----END KEY-----\n")
    value = path.read_text().removesuffix("\n")
    program = f'{sys.executable} -c "import sys; sys.stdout.write(open({str(path)!r}).read())"'
    environment = {
        "env": {"STAGING_USER_KEY": value},
        "file": {"STAGING_USER_KEY_FILE": str(path)},
        "command": {"STAGING_USER_KEY_COMMAND": program},
    }[way]
    inputs, told = read_inputs(environment, {})
    assert not told
    assert inputs.value("STAGING_USER_KEY") == value
    assert inputs.given["STAGING_USER_KEY"].source == way
    assert value not in repr(inputs)


def test_a_command_is_asked_anew_each_time_and_runs_without_a_shell_or_our_variables(tmp_path: Path) -> None:
    counter, shown = tmp_path / "count", tmp_path / "environment"
    program = tmp_path / "tokens.py"
    program.write_text(
        "import os, sys\n"
        f"count = open({str(counter)!r}, 'a+'); count.write('x'); count.seek(0)\n"
        f"open({str(shown)!r}, 'w').write(' '.join(sorted(os.environ)))\n"
        "print('token number', len(count.read()), *sys.argv[1:])\n"
    )
    command = f"{sys.executable} {program} '$HOME; echo' `id`"
    inputs, told = read_inputs({"STAGING_ACCESS_TOKEN_COMMAND": command, "OTHER": "x", "LANG": "C"}, {})
    assert not told
    values = [inputs.value("STAGING_ACCESS_TOKEN") for _ in range(2)]
    assert values == [f"token number {n} $HOME; echo `id`" for n in (2, 3)]
    assert set(shown.read_text().split()) <= {"LANG", "LC_CTYPE"}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("/no/such/program", "STAGING_ACCESS_TOKEN_COMMAND cannot be run"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", "STAGING_ACCESS_TOKEN_COMMAND ended with status 3"),
        (f"{sys.executable} -c ''", "STAGING_ACCESS_TOKEN_COMMAND gives nothing"),
        (
            f"{sys.executable} -c 'print(\"x\" * 70000)'",
            "STAGING_ACCESS_TOKEN_COMMAND gives more than 65536 bytes",
        ),
        ("'unclosed", "STAGING_ACCESS_TOKEN_COMMAND cannot be run"),
        ("  ", "STAGING_ACCESS_TOKEN_COMMAND cannot be run: there is no word in it"),
        ("yes flood", "STAGING_ACCESS_TOKEN_COMMAND gives more than 65536 bytes"),
    ],
)
def test_a_command_that_gives_no_secret_is_a_problem(command: str, told: str) -> None:
    _, problems = read_inputs({"STAGING_ACCESS_TOKEN_COMMAND": command}, {})
    (problem,) = problems
    assert problem.startswith(told)


def test_what_a_command_started_does_not_outlive_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = tmp_path / "forks.py"
    program.write_text(
        "import subprocess, sys\n"
        "child = subprocess.Popen(['sleep', '600'], stdout=subprocess.DEVNULL)\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "print('long enough a token')\n"
    )
    inputs, told = read_inputs({"PROD_ACCESS_TOKEN_COMMAND": f"{sys.executable} {program}"}, {})
    assert not told
    assert inputs.value("PROD_ACCESS_TOKEN") == "long enough a token"
    state = Path(f"/proc/{pid.read_text()}/stat")
    for _ in range(200):
        if not state.exists() or state.read_text().rsplit(")")[-1].split()[0] == "Z":
            break
        time.sleep(0.02)
    else:
        raise AssertionError("its child is alive")


@pytest.mark.parametrize("command", ["   ", "'unclosed", '"'])
def test_a_command_without_a_word_is_told_before_anything_runs(own: Path, command: str) -> None:
    told = problems(own, INCUMBENT_COMMAND=command)
    assert told == (f"INCUMBENT_COMMAND: {command!r} is no command: an open quote, or no word in it",)


def test_a_kind_of_server_that_there_is_not_is_told(own: Path) -> None:
    told = problems(own, INCUMBENT_KIND="rusty")
    assert told == ("INCUMBENT_KIND: 'rusty' is none of less-sync, rust, go",)


def test_a_secret_that_comes_two_ways_or_is_too_short_to_mask_is_a_problem(tmp_path: Path) -> None:
    _, told = read_inputs({"PROD_ACCESS_TOKEN": "x" * 9, "PROD_ACCESS_TOKEN_FILE": "token"}, {})
    assert told == ["PROD_ACCESS_TOKEN and PROD_ACCESS_TOKEN_FILE are both set; leave one"]
    _, told = read_inputs({"PROD_ACCESS_TOKEN": "1234567"}, {})
    assert told == ["PROD_ACCESS_TOKEN has fewer than 8 characters, too few to be masked"]
    _, told = read_inputs({"PROD_DATABASE_URL": "postgresql:///x"}, {})
    assert not told
    _, told = read_inputs({"PROD_ACCESS_TOKEN_FILE": str(tmp_path / "none")}, {})
    assert told[0].startswith("PROD_ACCESS_TOKEN_FILE: cannot read")


def test_no_secret_is_read_where_the_matrix_is_only_shown() -> None:
    inputs, told = read_inputs({"PROD_ACCESS_TOKEN_COMMAND": "/no/such/program"}, {}, secrets=False)
    assert not told
    assert inputs.given["PROD_ACCESS_TOKEN"].text == ""


def test_an_unset_variable_has_its_default_and_an_empty_one_counts_as_unset() -> None:
    inputs, _ = read_inputs({"INCUMBENT_KIND": ""}, {"BACKUP_DIR": "/backups"})
    assert inputs.value("INCUMBENT_KIND") == "rust"
    assert inputs.given["BACKUP_DIR"].source == "option"
    with pytest.raises(AssertionError):
        inputs.value("NOT_A_VARIABLE")


def test_every_variable_is_in_the_table_of_the_page_and_no_other() -> None:
    page = (Path(__file__).parents[2] / "docs" / "validation.md").read_text()
    table = page.partition("### 3.1 Variables\n")[2].partition("\n### ")[0]
    rows = [line.split(" | ")[0] for line in table.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`([A-Z][A-Z_]+)`", row)}
    assert named == VARIABLES.keys()
