"""Log lines: their form, their levels, and what must not be in them."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
import structlog

from less_sync.bins.log_lines import describe_fault
from less_sync.bins.logs import configure_logging, log_loop_fault, set_log_level

SECRET = "eyJhbGciOiJFUzI1NiJ9"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = (list(root.handlers), root.level, logging.getLogger("uvicorn").level)
    yield
    structlog.reset_defaults()
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    logging.getLogger("uvicorn").setLevel(before[2])


def start(level: str = "info", form: str = "text") -> io.StringIO:
    stream = io.StringIO()
    configure_logging(level=level, form=form, stream=stream)
    return stream


def test_a_text_line_has_time_level_message_and_fields() -> None:
    stream = start()
    structlog.get_logger().info("server listening", address="127.0.0.1:5379", note='two "words"')
    time, rest = stream.getvalue().split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time)
    assert rest == 'INFO  server listening address=127.0.0.1:5379 note="two \\"words\\""\n'


def test_a_json_line_has_ts_level_and_msg_first() -> None:
    stream = start(form="json")
    structlog.get_logger().warning("slow", space="s", bytes=3)
    line = json.loads(stream.getvalue())
    assert list(line) == ["ts", "level", "msg", "space", "bytes"]
    assert (line["level"], line["msg"], line["bytes"]) == ("warn", "slow", 3)


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_event_is_one_line_whatever_is_in_it(form: str) -> None:
    stream = start(form=form)
    structlog.get_logger().info("a\nb", field="c\nd\x1b[31m")
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "seen"),
    [
        ("trace", ["debug", "info", "warning", "error"]),
        ("debug", ["debug", "info", "warning", "error"]),
        ("info", ["info", "warning", "error"]),
        ("warn", ["warning", "error"]),
        ("error", ["error"]),
        ("off", []),
    ],
)
def test_a_level_shows_what_is_at_least_as_grave(level: str, seen: list[str]) -> None:
    stream = start(level)
    log = structlog.get_logger()
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)(name)
    assert [line.split()[2] for line in stream.getvalue().splitlines()] == seen


NAMES = ("debug", "info", "warning", "error", "critical")


def test_a_level_that_changes_counts_for_loggers_in_use_and_bound_ones_too() -> None:
    stream = start("info")
    log = structlog.get_logger()
    log.info("first use")
    bound = log.bind(space="s")
    seen = []
    for level in ("debug", "warn", "off", "info"):
        set_log_level(level)
        stream.truncate(0)
        for logger in (log, bound):
            for name in NAMES:
                getattr(logger, name)(name)
        seen.append([line.split()[2] for line in stream.getvalue().strip("\0").splitlines()])
    assert seen == [[*NAMES] * 2, [*NAMES[2:]] * 2, [], [*NAMES[1:]] * 2]


def test_a_line_that_is_left_out_costs_what_structlogs_own_filter_costs() -> None:
    start("info")
    log = structlog.get_logger().bind()
    set_log_level("warn")
    assert type(log).info is structlog.make_filtering_bound_logger(30).info


def failed() -> Exception:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise LookupError(SECRET) from error
    except LookupError as error:
        return error


def test_a_fault_is_told_by_kind_and_place_but_never_by_its_text() -> None:
    stream = start()
    log = structlog.get_logger()
    log.error("request failed", exc_info=failed())
    try:
        raise failed()
    except LookupError:
        log.exception("request failed")
    assert SECRET not in stream.getvalue()
    for line in stream.getvalue().splitlines():
        assert re.search(
            r"LookupError at test_logs\.py:\d+ in \w+ < ValueError at test_logs\.py:\d+ in failed", line
        )


def test_a_fault_that_was_never_raised_has_no_place() -> None:
    assert describe_fault(KeyError(SECRET)) == "KeyError"


def test_libraries_are_heard_from_warning_up_without_their_arguments() -> None:
    stream = start("debug")
    library = logging.getLogger("some.library")
    library.info("ignored")
    library.warning("refused %s\nmore", SECRET)
    library.error("failed", exc_info=failed())
    first, second = stream.getvalue().splitlines()
    assert first.endswith("WARN  refused %s source=some.library")
    assert second.split(" ", 1)[1].startswith("ERROR failed source=some.library fault=")
    assert SECRET not in stream.getvalue()


def test_faults_of_the_event_loop_do_not_show_the_task() -> None:
    stream = start()
    context = {"message": f"Task exception was never retrieved\nfuture: <{SECRET}>", "exception": failed()}
    loop = asyncio.new_event_loop()
    log_loop_fault(loop, context)
    loop.close()
    assert "Task exception was never retrieved fault=" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_a_lost_stream_does_not_disturb_what_is_logged_about() -> None:
    stream = start()
    stream.close()
    structlog.get_logger().info("nobody hears this")


def test_a_fault_in_a_group_is_found_within_it() -> None:
    async def fail() -> None:
        raise LookupError("secret")

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(run())
    first, second = describe_fault(caught.value).split(" < ")
    assert first.startswith("ExceptionGroup at ")
    assert re.fullmatch(r"LookupError at test_logs\.py:\d+ in fail", second)
