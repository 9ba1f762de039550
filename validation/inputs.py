"""What a run is told from outside: variables and options, each with its source (docs/validation.md 3.1).

Every variable has a row. A secret may stand in the variable itself, in the file that `NAME_FILE` names, or in
what `NAME_COMMAND` prints: two of these, or a secret too short to be masked, are a problem.
"""

import os
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Literal

Source = Literal["option", "env", "file", "command", "manifest", "default"]

SECRET_CHARS_MIN: Final = 8
"""A shorter one could not be masked without masking half the report. Database URLs are exempt: only their
password is masked, and in URLs alone."""
COMMAND_S: Final = 60.0
SECRET_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Variable:
    """One that a run reads."""

    name: str
    secret: bool = False
    url: bool = False
    """A database's: it holds a password, and is a secret of any length."""
    default: str | None = None


def _family(*names: str, secret: bool = False) -> list[Variable]:
    return [Variable(name, secret) for name in names]


VARIABLES: Final[dict[str, Variable]] = {
    one.name: one
    for one in (
        *_family(
            "STAGING_BASE_URL", "PROD_BASE_URL", "STAGING_INCUMBENT_BASE_URL", "PROD_CANDIDATE_BASE_URL"
        ),
        *_family(
            *("STAGING_ACCESS_TOKEN", "STAGING_ACCESS_TOKEN_MEMBER", "STAGING_ACCESS_TOKEN_STRANGER"),
            *(
                "PROD_ACCESS_TOKEN",
                "STAGING_USER_KEY",
                "STAGING_USER_KEY_MEMBER",
                "STAGING_USER_KEY_STRANGER",
            ),
            *("PROD_USER_KEY", "STAGING_ISSUER_KEY", "VALIDATION_PEER_KEY", "VALIDATION_SIGNING_KEY"),
            secret=True,
        ),
        *_family("STAGING_ISSUER", "STAGING_ISSUER_KID", "STAGING_AUDIENCE", "VALIDATION_PEER_DOMAIN"),
        *_family("IMAGE_PROBE_COMMAND", "CANDIDATE_IMAGE", "CANDIDATE_VERSION", "INCUMBENT_IMAGE"),
        Variable("INCUMBENT_KIND", default="rust"),
        *(
            Variable(name, secret=True, url=True)
            for name in (
                *("STAGING_DATABASE_URL", "PROD_DATABASE_URL", "INCUMBENT_DATABASE_URL"),
                "SCRATCH_DATABASE_URL",
            )
        ),
        *_family("INCUMBENT_COMMAND", "CANDIDATE_COMMAND", "DATABASE_ROLE"),
        *_family("STAGING_RESTART_COMMAND", "ALERT_PROBE_COMMAND", "LOG_PROBE_COMMAND"),
        *_family("BACKUP_DIR", "CANARY_HOOK", "STAGING_CANARY_HOOK", "ROLLBACK_COMMAND"),
        *(
            one
            for place in ("STAGING", "PROD", "INCUMBENT", "PROD_CANDIDATE")
            for one in (
                Variable(f"{place}_METRICS_URL"),
                Variable(f"{place}_METRICS_COMMAND"),
                Variable(f"{place}_METRICS_TOKEN", secret=True),
            )
        ),
        Variable("OUTPUT_DIR"),
        Variable("FAIL_ON_REQUIRED_FAILURE", default="1"),
        *(
            Variable(f"RUN_{lane.upper()}", default="1")
            for lane in (
                *("service", "auth", "contract", "parity", "database", "federation"),
                *("observability", "rollback", "performance"),
            )
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Input:
    """One that has a value."""

    name: str
    source: Source
    text: str = field(repr=False)
    secret: bool = False


@dataclass(slots=True)
class Inputs:
    """All that have one. What a secret's command prints is asked for anew with each use."""

    given: dict[str, Input]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    commands: dict[str, str] = field(default_factory=dict)
    """Of secrets that a command prints, by name."""

    def value(self, name: str) -> str | None:
        """The text of a variable, its default where it is not set; None without one."""
        assert name in VARIABLES, name
        if name in self.commands:
            return secret_of_command(self.commands[name], name, self.environment)
        one = self.given.get(name)
        return one.text if one is not None else VARIABLES[name].default


KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG")


def environment_of_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """What the operator's commands are run with: nothing of the run's own secrets."""
    return {name: environment[name] for name in KEPT_VARIABLES if name in environment}


class InputProblem(Exception):
    """A variable is wrong; worded for the operator, without its value."""


def read_inputs(
    environment: Mapping[str, str], options: Mapping[str, str], *, secrets: bool = True
) -> tuple[Inputs, list[str]]:
    """All variables, and what is wrong with them.

    Args:
        options: by variable; they win.
        secrets: False: none is read, for commands that only show the matrix.
    """
    inputs, problems = Inputs({}, environment), []
    for variable in VARIABLES.values():
        try:
            _read(variable, environment, options, inputs, secrets=secrets)
        except InputProblem as problem:
            problems.append(str(problem))
    return inputs, problems


def _read(
    variable: Variable,
    environment: Mapping[str, str],
    options: Mapping[str, str],
    inputs: Inputs,
    *,
    secrets: bool,
) -> None:
    name = variable.name
    ways = [f"{name}{end}" for end in (("", "_FILE", "_COMMAND") if variable.secret else ("",))]
    set_ways = [way for way in ways if environment.get(way)]
    if name in options:
        source: Source = "option"
        text = options[name]
    elif not set_ways:
        return
    elif len(set_ways) > 1:
        raise InputProblem(f"{' and '.join(set_ways)} are both set; leave one")
    elif set_ways[0].endswith("_FILE") and variable.secret:
        source, text = "file", _file(environment[set_ways[0]], set_ways[0]) if secrets else ""
    elif set_ways[0].endswith("_COMMAND") and variable.secret:
        inputs.commands[name] = environment[set_ways[0]]
        source, text = (
            "command",
            secret_of_command(environment[set_ways[0]], name, environment) if secrets else "",
        )
    else:
        source, text = "env", environment[name]
    if secrets and variable.secret and not variable.url and len(text) < SECRET_CHARS_MIN:
        raise InputProblem(f"{name} has fewer than {SECRET_CHARS_MIN} characters, too few to be masked")
    inputs.given[name] = Input(name, source, text, variable.secret)


def _file(path: str, name: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        raise InputProblem(f"{name}: cannot read {path}: {error.strerror}") from None
    return _secret_text(content, name)


def secret_of_command(command: str, name: str, environment: Mapping[str, str]) -> str:
    """What a command prints, its last line break cut; run without a shell.

    Raises:
        InputProblem: it cannot be run, fails, or prints nothing or too much.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InputProblem(f"{name}_COMMAND cannot be run: {error}") from None
    if not words:
        raise InputProblem(f"{name}_COMMAND cannot be run: there is no word in it")
    try:
        status, output = _printed(words, environment_of_commands(environment))
    except OSError as error:
        raise InputProblem(f"{name}_COMMAND cannot be run: {error.strerror}") from None
    except TimeoutError:
        raise InputProblem(f"{name}_COMMAND printed nothing within {COMMAND_S:.0f} s") from None
    if status is None:
        raise InputProblem(f"{name}_COMMAND gives more than {SECRET_BYTES_MAX} bytes")
    if status != 0:
        raise InputProblem(f"{name}_COMMAND ended with status {status}")
    return _secret_text(output, f"{name}_COMMAND")


def _printed(words: Sequence[str], environment: Mapping[str, str]) -> tuple[int | None, bytes]:
    """Its status and what it printed; no status when that was too much. All that it started is killed.

    Raises:
        OSError: it cannot be started.
        TimeoutError: it has not ended, or somebody holds its output still.
    """
    end_s = time.monotonic() + COMMAND_S
    output = bytearray()
    with subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            while True:
                ready, _, _ = select.select([process.stdout], (), (), max(0.0, end_s - time.monotonic()))
                if not ready:
                    raise TimeoutError
                data = os.read(process.stdout.fileno(), SECRET_BYTES_MAX)
                output += data
                if not data:
                    break
                if len(output) > SECRET_BYTES_MAX:
                    return None, b""
            return process.wait(max(0.0, end_s - time.monotonic())), bytes(output)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def _secret_text(content: bytes, name: str) -> str:
    if len(content) > SECRET_BYTES_MAX:
        raise InputProblem(f"{name} gives more than {SECRET_BYTES_MAX} bytes")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise InputProblem(f"{name} gives no UTF-8") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise InputProblem(f"{name} gives nothing")
    return text
