"""Stub programs for what an operator would give: each is a real file that is really run."""

import shlex
from pathlib import Path


def script(folder: Path, *lines: str, status: int = 0, name: str = "stub") -> str:
    """A program that prints these lines, whatever its arguments; the command that runs it."""
    number = sum(1 for _ in folder.glob(f"{name}-*.sh"))
    path = folder / f"{name}-{number}.sh"
    printed = " ".join(shlex.quote(line) for line in lines)
    path.write_text(f"printf '%s\\n' {printed}\nexit {status}\n")
    return f"/bin/sh {shlex.quote(str(path))}"
