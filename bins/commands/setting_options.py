"""The options that stand for settings: one table, for every command that begins with a server's settings.

An option wins over the variable that it names. Those of daily use have one, the rest are variables alone.
The command line library is loaded for its help and its errors: a server starts without (`main.serve_line`).
"""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any, Final

from less_sync.bins.errors import print_error

if TYPE_CHECKING:
    from less_sync.bins.settings.config import Settings


@dataclass(frozen=True, slots=True)
class SettingOption:
    """One option, and the variable that it stands for."""

    variable: str
    flag: str
    metavar: str | None
    """What its value is called in the help; None: it is a switch."""
    help: str

    @property
    def name(self) -> str:
        """Of the parameter."""
        return self.flag.replace("-", "_")

    @property
    def parameter(self) -> inspect.Parameter:
        """As the command line library wants it."""
        import typer

        # Names are given in full: of `--perf-mode` the library would make a `--no-perf-mode` as well.
        option = typer.Option(f"--{self.flag}", metavar=self.metavar, help=f"{self.variable}: {self.help}")
        switch = self.metavar is None
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if switch else None,
            annotation=Annotated[bool if switch else str | None, option],
        )

    def value(self, given: object) -> str | None:
        """What its variable would be set to; None: the option was left out."""
        if self.metavar is None:
            return "true" if given else None
        return None if given is None else str(given)


OPTIONS: Final = (
    SettingOption("LISTEN_ADDR", "listen", "ADDR", "address and port, port 0 for a free one."),
    SettingOption("DATABASE_URL", "database-url", "URL", "a Postgres; without it one is brought along."),
    SettingOption("DATA_DIR", "data-dir", "DIR", "where the server keeps its own things."),
    SettingOption("TRUSTED_ISSUERS", "trusted-issuers", "URLS", "whose tokens are accepted."),
    SettingOption("ISSUERS_FILE", "issuers-file", "FILE", "issuers with rules of their own, in TOML."),
    SettingOption("AUDIENCES", "audiences", "NAMES", "for whom tokens must be meant."),
    SettingOption("FEDERATION_DOMAIN", "federation-domain", "NAME", "the name other servers know us by."),
    SettingOption(
        "FEDERATION_TRUSTED_KEYS", "federation-trusted-keys", "KEYS", "of the servers we speak to."
    ),
    SettingOption("DATABASE_MAX_CONNECTIONS", "database-max-connections", "N", "for everything but pushes."),
    SettingOption("PUSH_LANES", "push-lanes", "N", "further ones, for pushes."),
    SettingOption("WORKERS", "workers", "N", "processes that serve, on one address."),
    SettingOption("SHUTDOWN_GRACE_SECONDS", "shutdown-grace-seconds", "N", "how long an end may take."),
    SettingOption("LOG_LEVEL", "log-level", "LEVEL", "off, error, warn, info, debug, trace."),
    SettingOption("LOG_FORMAT", "log-format", "FORMAT", "text or json."),
    SettingOption("PERF_MODE", "perf-mode", None, "for load tests, no connection and rate limits."),
    SettingOption("ADMIN_ADDR", "admin-addr", "ADDR", "where operators and their tools ask."),
    SettingOption("PPROF_ADDR", "pprof-addr", "ADDR", "where the profiler listens; loopback only."),
    SettingOption(
        "ENV_FILE", "env-file", "FILE", "variables, read again on SIGHUP; they win over the others."
    ),
)


def _dev() -> inspect.Parameter:
    import typer

    option = typer.Option(
        "--dev", help="Accept the tokens of `less-sync token` and no others; loopback only."
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter("dev", kind, default=False, annotation=Annotated[bool, option])


def takes_settings(
    command: Callable[..., None], settings: Sequence[SettingOption] = OPTIONS
) -> Callable[..., None]:
    """Give a command the options of all settings.

    It is called with `options`, by variable, `dev` if it has such a parameter, and those of its own, which
    are keywords.
    """
    taken = inspect.signature(command).parameters
    own = [parameter for parameter in taken.values() if parameter.name not in ("options", "dev")]
    names = {option.name: option for option in settings}

    @wraps(command)
    def called(**given: Any) -> None:
        values = {option.variable: option.value(given.pop(name)) for name, option in names.items()}
        command(options={name: value for name, value in values.items() if value is not None}, **given)

    parameters = [*own, *(option.parameter for option in settings), *([_dev()] if "dev" in taken else [])]
    vars(called)["__signature__"] = inspect.Signature(parameters)
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def settings_or_exit(options: Mapping[str, str], *, dev: bool) -> "Settings":
    """Read the settings, or print all problems and exit with status 1."""
    from less_sync.bins.settings.config import ConfigError, read_settings

    try:
        return read_settings(options, embedded=True, dev=dev)
    except ConfigError as error:
        for problem in error.problems:
            print_error(problem)
        sys.exit(1)
