"""Finds a Chromium. `python -m tests.browser.chromium` installs Debian's, or says why it cannot."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
INSTALL: Final = (
    ("apt-get", "update", "-qq"),
    ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"),
)
INSTALL_S_MAX: Final = 600.0
FLAGS: Final = (
    "--headless",
    "--no-sandbox",  # a container's root may not use Chromium's own; the pages of tests are ours
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""It is started for one test, shows it what the test serves, and asks nobody else for anything."""


def chromium() -> str | None:
    """The path of the browser: that of `CHROMIUM`, or the first one found."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def obstacle(
    *, named: str | None, release: Path = Path("/etc/debian_version"), user: int | None = None
) -> str | None:
    """Why the browser cannot be installed here: None if it can."""
    if named is not None:
        return f"CHROMIUM={named} is no program"
    if not release.exists():
        return "no Chromium was found, and only on Debian is it installed from here"
    if (os.getuid() if user is None else user) != 0:
        return f"no Chromium was found, and only root may install it: {' '.join(INSTALL[1])}"
    return None


def install(run: Callable[[tuple[str, ...]], int]) -> str | None:
    """Install it by `run`, which gives the exit status of a command; what went wrong, None if nothing."""
    for command in INSTALL:
        if (status := run(command)) != 0:
            return f"{' '.join(command)}: exit status {status}"
    return None if chromium() else "Chromium was installed, and is not on the PATH"


def _run(command: tuple[str, ...]) -> int:
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(command, env=env, timeout=INSTALL_S_MAX, check=False).returncode


def main() -> int:
    """Make sure that the browser is there; 1, with a sentence, if it is not."""
    missing = None
    if chromium() is None:
        missing = obstacle(named=os.environ.get("CHROMIUM")) or install(_run)
    if missing is not None:
        print(
            f"make test-browser needs Chromium: {missing}. CHROMIUM=PATH names another one.", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
