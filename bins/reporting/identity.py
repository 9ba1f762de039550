"""Who registers: what a fleet plane is told of this machine once."""

import platform
import re
import socket
import sys
from importlib.metadata import version
from typing import Final

from less_sync.bins.settings.reporter import MINIMAL, ReporterSettings
from less_sync.fleet.reporter.messages import Identity

HOST_CHARS_MAX: Final = 253
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_PYTHON_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?(?:(a|b|rc)(\d+))?(?:\.dev(\d+))?")
_PHASES: Final = {"a": "alpha", "b": "beta", "rc": "rc"}


def identity(kind: str, settings: ReporterSettings) -> Identity:
    """This machine and program. `kind` is `sync` or `volume`."""
    machine = platform.machine().lower()
    return Identity(
        name=settings.name,
        kind=kind,
        hostname=None if settings.report == MINIMAL else socket.gethostname()[:HOST_CHARS_MAX],
        os=sys.platform,
        arch=_ARCHITECTURES.get(machine, machine),
        version=own_version(),
        labels=dict(settings.labels),
    )


def own_version() -> str:
    """Of this program, in the form that a plane compares."""
    return as_semver(version("less-sync"))


def as_semver(text: str) -> str:
    """A version as Python packages have it (PEP 440), in the form of SemVer 2.0.0 without build metadata."""
    found = _PYTHON_VERSION.match(text)
    if found is None:
        return "0.0.0"
    major, minor, patch, phase, number, dev = found.groups()
    before = [*([_PHASES[phase], number] if phase else []), *(["dev", dev] if dev else [])]
    return f"{int(major)}.{int(minor)}.{int(patch or 0)}{'-' if before else ''}{'.'.join(before)}"
