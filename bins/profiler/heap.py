"""Where the memory was taken that is in use, by the interpreter's own tracing of allocations."""

import tracemalloc
from typing import Final

from less_sync.bins.profiler.places import modules_by_file, site

SITES_MAX: Final = 100
BEGUN: Final = (
    "tracing of allocations has begun: ask again to see who took what since. Until the server is restarted\n"
    "each allocation costs several times as much\n"
)


def heap() -> str:
    """The places that hold most, one a line; the first call begins the tracing."""
    if not tracemalloc.is_tracing():
        tracemalloc.start()
        return BEGUN
    snapshot = tracemalloc.take_snapshot().filter_traces((tracemalloc.Filter(False, tracemalloc.__file__),))
    modules = modules_by_file()
    statistics = snapshot.statistics("lineno")
    total = sum(one.size for one in statistics)
    lines = [f"{total} bytes in {sum(one.count for one in statistics)} blocks traced\n"]
    for one in statistics[:SITES_MAX]:
        frame = one.traceback[0]
        lines.append(f"{one.size} bytes, {one.count} blocks: {site(modules, frame.filename, frame.lineno)}\n")
    return "".join(lines)
