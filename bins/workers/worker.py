"""Where a worker begins: `python -m less_sync.bins.workers.worker CHANNEL`.

It loads what it serves with (`work`) as `less-sync serve` does: without the collector, and without what
structlog brings for coloured tracebacks alone. Together they were a fifth of what a start costs.
"""

import signal
import sys
from collections.abc import Sequence

from less_sync.bins.heap import forget_modules, hold_collector
from less_sync.bins.installed import server_parts


def main(arguments: Sequence[str]) -> int:
    """Serve, and return the exit status: 0 stopped in order, 1 failed or abandoned."""
    # The supervisor's own business; by itself it would end this process.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    hold_collector()
    with server_parts("a worker"):
        from less_sync.bins.workers.work import work
    forget_modules()
    return work(int(arguments[0]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
