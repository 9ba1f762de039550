"""What `doctor` does once its line is read: needs the libraries of the server."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from less_sync.bins.amounts import columns
from less_sync.bins.doctor.examination import examine, refused
from less_sync.bins.doctor.findings import Finding, State
from less_sync.bins.logs import configure_logging
from less_sync.bins.settings.config import ConfigError, read_settings


def find(options: Mapping[str, str], *, dev: bool) -> Sequence[Finding]:
    """Read the settings and look at everything."""
    configure_logging(level="off", form="text")
    try:
        settings = read_settings(options, embedded=True, dev=dev)
    except ConfigError as error:
        return refused(error.problems)
    return asyncio.run(examine(settings))


def table(found: Sequence[Finding]) -> Iterator[str]:
    """The report for people: a line each, below it what to do, and how many there are at the end."""
    lines = columns([(one.state.value, one.check, one.found) for one in found])
    for one, line in zip(found, lines, strict=True):
        yield line
        if one.todo:
            yield f"    -> {one.todo}"
    counts = Counter(one.state for one in found)
    yield ", ".join(f"{counts[state]} {state.value}" for state in State if counts[state])


def json_lines(found: Sequence[Finding]) -> Iterator[str]:
    """The report for programs."""
    for one in found:
        yield json.dumps({"event": "check", **asdict(one), "state": one.state.value})


def any_failed(found: Sequence[Finding]) -> bool:
    """Whether something does not work."""
    return any(one.state is State.FAILED for one in found)
