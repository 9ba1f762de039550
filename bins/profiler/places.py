"""Places in the code as text: of frames, of what a coroutine waits in, of where memory was taken."""

import sys
from pathlib import Path
from types import FrameType
from typing import Final

DEPTH_MAX: Final = 128
"""Frames of one stack; what lies further out is left away."""


def function(frame: FrameType) -> str:
    """`less_sync.sync.rpc.records:push`."""
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_qualname}"


def place(frame: FrameType) -> str:
    """`less_sync.sync.rpc.records:push:41`."""
    return f"{function(frame)}:{frame.f_lineno}"


def frames_of(frame: FrameType | None) -> list[FrameType]:
    """The stack of a thread, outermost first."""
    frames: list[FrameType] = []
    while frame is not None and len(frames) < DEPTH_MAX:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def waiting_places(waiting: object) -> list[str]:
    """Where a suspended coroutine stands, outermost first: through everything it waits for."""
    places: list[str] = []
    while waiting is not None and len(places) < DEPTH_MAX:
        frame = _first_of(waiting, "cr_frame", "gi_frame", "ag_frame")
        if isinstance(frame, FrameType):
            places.append(place(frame))
        waiting = _first_of(waiting, "cr_await", "gi_yieldfrom", "ag_await")
    return places


def _first_of(of: object, *names: str) -> object:
    """The first of these attributes that is there; coroutines and generators name theirs differently."""
    return next((found for name in names if (found := getattr(of, name, None)) is not None), None)


def modules_by_file() -> dict[str, str]:
    """File of each module to its name: paths would show how this machine is laid out."""
    return {
        file: name
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None))
    }


def site(modules: dict[str, str], file: str, line: int) -> str:
    """`less_sync.sync.rpc.records:41`; the bare name of a file that is no module's."""
    return f"{modules.get(file) or Path(file).name}:{line}"
