"""What processes use, from /proc: CPU time to the nanosecond and resident memory. Linux alone."""

import os
import re
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CLEAR_PEAK: Final = "5"
"""Written to `clear_refs`, resets the peak of the resident set (proc(5))."""


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process: the sum over its living threads (`schedstat`)."""
    return _scheduled_s(pid, 0)


def waited_s(pid: int) -> float:
    """Seconds in which its threads could have run, had a core been free."""
    return _scheduled_s(pid, 1)


def _scheduled_s(pid: int, column: int) -> float:
    total_ns = 0
    for task in (PROC / str(pid) / "task").iterdir():
        try:
            total_ns += int((task / "schedstat").read_text().split()[column])
        except (FileNotFoundError, ProcessLookupError):
            continue  # the thread ended while we looked
    return total_ns / 1e9


def children(pid: int) -> list[int]:
    """Process ids whose parent is `pid`."""
    found = []
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            stat = (entry / "stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(stat.rpartition(")")[2].split()[1]) == pid:
            found.append(int(entry.name))
    return found


def family_cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds of a process and of each of its children, by process id."""
    return {member: cpu_s(member) for member in [pid, *children(pid)] if (PROC / str(member)).exists()}


def spent_s(before: dict[int, float], after: dict[int, float]) -> float:
    """CPU seconds between two looks at a family; what a child that has ended used since is not in it."""
    return sum(now - before.get(pid, 0.0) for pid, now in after.items())


def resident_bytes(pid: int) -> int:
    """Memory the process holds now."""
    return _status_kib(pid, "VmRSS") * 1024


def peak_bytes(pid: int) -> int:
    """The most it held since its start or `reset_peak`."""
    return _status_kib(pid, "VmHWM") * 1024


def growth_bytes(pid: int, before: int) -> int:
    """How far the peak is above what was there before.

    The kernel sums up its counts of each core roughly, so what has not grown may seem to have shrunk.
    """
    return max(0, peak_bytes(pid) - before)


def reset_peak(pid: int) -> None:
    (PROC / str(pid) / "clear_refs").write_text(CLEAR_PEAK)


def _status_kib(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", (PROC / str(pid) / "status").read_text(), re.MULTILINE)
    assert found is not None, f"{name} of process {pid}"
    return int(found[1])


def file_system(path: Path) -> str:
    """The kind of file system that a path lies on: `ext4`, `tmpfs` ... (proc_pid_mountinfo(5))."""
    found = (0, "")
    for line in (PROC / "self" / "mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4].encode().decode("unicode_escape"))
        if path.resolve().is_relative_to(place) and len(place.parts) >= found[0]:
            found = (len(place.parts), after.split()[0])
    return found[1]


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = re.search(r"^model name\s*:\s*(.+)$", (PROC / "cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+) kB$", (PROC / "meminfo").read_text(), re.MULTILINE)
    assert memory is not None
    uname = os.uname()
    return {
        "cpu": model[1] if model else uname.machine,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) / 1024 / 1024:.0f} GiB",
        "kernel": f"{uname.sysname} {uname.release}",
    }
