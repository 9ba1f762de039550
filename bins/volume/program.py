"""The program `less-sync-volume`, and what `less-sync volume` runs: from the command line to the exit status.

Every import here is paid some hundred times by whoever starts a server for each test, so that nothing is
imported that is not needed, and what only a running server needs comes after the flags are understood.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from less_sync.bins.errors import CommandError, print_error
from less_sync.bins.volume.flags import FLAGS, WORD, usage
from less_sync.bins.volume.go_flags import FlagError, Given, HelpWanted, Parser
from less_sync.bins.volume.reading import OptionsError, read_options

if TYPE_CHECKING:
    from less_sync.bins.reporting.start import Reporting
    from less_sync.bins.settings.reporter import ReporterSettings
    from less_sync.bins.supervisor import Supervisor
    from less_sync.volume.options import Options
    from less_sync.volume.server import VolumeServer

FAILURE: Final = 1
USAGE: Final = 2
GC_THRESHOLDS: Final = (100_000, 50, 100)
OPEN_FILES_MAX: Final = 1 << 20


def main() -> NoReturn:
    """Run the program. Exit status: 0 stopped in order, 1 failure, 2 usage error."""
    run_and_leave(sys.argv[1:], Path(sys.argv[0]).name)


def run_and_leave(arguments: Sequence[str], name: str) -> NoReturn:
    """Do what the line says, and end the process; `name` is how this program was called."""
    _fill_standard_streams()
    _leave(run(arguments, name, os.environ))


def _fill_standard_streams() -> None:
    """Open what the caller closed: the next file opened, a volume's, would take its number otherwise.

    Whatever any library writes to standard error would then go into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115  # for the life of the process
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115


def _leave(status: int) -> NoReturn:
    """End the process at once: everything is closed, and what threads still do is of no use to anybody.

    The interpreter would wait for them, and take down every module one by one.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def run(arguments: Sequence[str], name: str, environment: Mapping[str, str]) -> int:
    """Do what the line says, a server until a signal; return the exit status."""
    words = arguments[1:] if arguments[:1] == [WORD] else arguments
    if words[:1] in (["check"], ["export"]):
        return _look_at_directory(words)
    return _run_server(arguments, name, environment)


def _look_at_directory(words: Sequence[str]) -> int:
    from less_sync.bins.installed import volume_parts

    try:
        with volume_parts():
            from less_sync.bins.volume.check_work import check_volumes
            from less_sync.bins.volume.export_work import export_volumes
    except CommandError as error:
        print_error(str(error), error.causes)
        return FAILURE
    return check_volumes(words[1:]) if words[0] == "check" else export_volumes(words[1:])


def _run_server(arguments: Sequence[str], name: str, environment: Mapping[str, str]) -> int:
    try:
        given = Parser(FLAGS).parse(arguments, environment, word=WORD)
    except HelpWanted:
        print(usage(name), end="", file=sys.stderr)
        return USAGE
    except FlagError as error:
        print(error, file=sys.stderr)
        print(usage(name), end="", file=sys.stderr)
        return USAGE
    try:
        options = read_options(given, environment)
        return _serve(options, given, environment, _reporter_settings(environment))
    except OptionsError as error:
        print_error(str(error))
    except CommandError as error:
        print_error(str(error), error.causes)
    except OSError as error:
        print_error(f"the server could not start: {error.strerror or error}")
    return FAILURE


def _serve(
    options: "Options", given: Given, environment: Mapping[str, str], settings: "ReporterSettings | None"
) -> int:
    from less_sync.bins.hangups import hold_hangups
    from less_sync.bins.volume.logs import configure_logging
    from less_sync.volume.signals import STOP_SIGNALS

    for number in STOP_SIGNALS:
        signal.signal(number, _leave_at_once)
    hold_hangups()
    configure_logging(level=options.log_level, form=options.log_format)
    _tell_of(options, given)
    _raise_open_files_limit()
    import asyncio

    from less_sync.bins.installed import volume_parts

    with volume_parts():
        import uvloop

    # Not closed: that would wait for threads, which `_leave` does not.
    return asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_run(options, environment, settings))


async def _run(
    options: "Options", environment: Mapping[str, str], settings: "ReporterSettings | None"
) -> int:
    import asyncio

    from less_sync.bins.hangups import take_hangups
    from less_sync.bins.installed import volume_parts
    from less_sync.bins.supervisor import Supervisor
    from less_sync.bins.volume.logs import log_ended, log_loop_fault

    with volume_parts():
        from less_sync.volume.engine.errors import VolumeError
        from less_sync.volume.security.tls import TlsError
        from less_sync.volume.server import VolumeServer

    asyncio.get_running_loop().set_exception_handler(log_loop_fault)
    async with Supervisor(log_ended) as vital:
        try:
            server = VolumeServer(options, environment, vital)
            reporting = _reporting(server, options, settings)
            await server.run(
                listening_for_signals=take_hangups,
                ready=partial(_ready, reporting),
                stopping=_nothing if reporting is None else reporting.stop,
            )
        except (TlsError, VolumeError) as error:
            raise CommandError(f"the server could not start: {error}") from error
    if vital.first is not None:
        raise CommandError(_words(vital))
    return 0


def _reporting(
    server: "VolumeServer", options: "Options", settings: "ReporterSettings | None"
) -> "Reporting | None":
    """What reports to a fleet plane, where there is one."""
    if settings is None:
        return None
    from less_sync.bins.reporting.volume import volume_reporting

    return volume_reporting(server.services, options.directories[0].path, settings)


def _reporter_settings(environment: Mapping[str, str]) -> "ReporterSettings | None":
    """None: nobody reports. Nothing is loaded then.

    Raises:
        CommandError: they cannot be used.
    """
    if not environment.get("FLEET_URL", "").strip():
        return None
    from less_sync.bins.settings.reader import SettingsReader
    from less_sync.bins.settings.reporter import read_reporter

    reader = SettingsReader(environment)
    settings = read_reporter(reader)
    if reader.problems:
        raise CommandError(reader.problems[0], reader.problems[1:])
    return settings


def _ready(reporting: "Reporting | None") -> None:
    _settle_heap()
    if reporting is not None:
        reporting.begin()


async def _nothing() -> None:
    """Nobody is told of the end."""


def _leave_at_once(_number: int, _frame: object) -> None:
    """A signal to stop while nothing is open yet; the server takes over as soon as it can be told."""
    os._exit(0)


def _settle_heap() -> None:
    """Take what the start left behind out of the collector's sight, and let it look seldom at the rest.

    A collection walks every module and class otherwise, and requests make few cycles.
    """
    import gc

    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def _words(vital: "Supervisor") -> str:
    """What an operator reads who did not see the log."""
    from less_sync.volume.master.heartbeat import DuplicateDirectories

    assert vital.first is not None
    task, fault = vital.first
    if isinstance(fault, DuplicateDirectories):
        return str(fault)
    return f"the {task} ended unexpectedly, so the server was stopped; the log says where"


def _tell_of(options: "Options", given: Given) -> None:
    """A variable that was meant for something else (`PORT`, `IP`, `DIR`) is seen by this alone."""
    from less_sync.volume.logs import Logger

    log = Logger(__name__)
    for flag in FLAGS:
        if given.origins[flag.name] == "environment":
            log.info("flag taken from the environment", flag=flag.name, variable=flag.variable)
    if options.unread:
        log.info("flags without effect here", flags=",".join(options.unread))
    if given.rest:
        log.warning("arguments behind the flags are ignored", count=len(given.rest))


def _raise_open_files_limit() -> None:
    """Every volume is two open files and every connection one; many systems start a process with 1024."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(OPEN_FILES_MAX, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


if __name__ == "__main__":
    main()
