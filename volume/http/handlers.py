"""What the HTTP connection asks of whoever answers requests."""

from collections.abc import Coroutine
from typing import Any, Protocol

from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response

Begun = Response | Coroutine[Any, Any, Response | None] | None
Finished = Response | Coroutine[Any, Any, Response]


class Handler(Protocol):
    """Answers requests. One handler serves all requests of its kind, so that it keeps nothing of a request.

    A `Response` is written at once, without a task; only a coroutine gets one. The client's leaving cancels
    neither: a coroutine that has nothing else to do then sets `request.on_gone`. An exception becomes a 500
    without a body.
    """

    def begin(self, request: Request) -> Begun:
        """The head is here, and nothing of the body. None: read the body, then `finish`."""
        ...

    def finish(self, request: Request) -> Finished:
        """The body is here, in `request.body`."""
        ...

    def end(self, request: Request) -> None:
        """The request is over, whatever happened; called exactly once after `begin`, when the answer was sent
        or given up and no coroutine of the request runs any more."""
        ...


class Immediate:
    """What handlers need that answer from the head alone."""

    __slots__ = ()

    def finish(self, request: Request) -> Finished:
        """Never called: `begin` always answers."""
        raise AssertionError(f"{request.method} has no body here")

    def end(self, request: Request) -> None:
        """Nothing was held."""
