"""Routes by raw path, each with the methods it answers: the one table that routing and OPTIONS look up."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from less_sync.sync.http.paths import PathTemplate

Handler = Callable[[Request], Awaitable[Response]]


class Endpoint(Protocol):
    """An ASGI application that answers every method, 405 included."""

    @property
    def allow(self) -> str:
        """Its methods as `Allow` lists them: commas, no blanks."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""


class RawRoute(BaseRoute):
    """One path, or all of one template, as they were sent (docs/operations.md 4.1).

    Args:
        guards_itself: the endpoint finds out who asks; bearer tokens have no meaning there.
        same_origin: no answer says that scripts of other origins may read it, and none may ask with headers.
    """

    def __init__(
        self,
        template: PathTemplate,
        endpoint: Endpoint,
        *,
        guards_itself: bool = False,
        same_origin: bool = False,
    ) -> None:
        self.path = template.text
        self.guards_itself = guards_itself
        self.same_origin = same_origin
        self.allow = endpoint.allow
        self.matches_path = template.match
        self._endpoint = endpoint

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether this is the route; which method, the endpoint sees to."""
        found = scope["type"] == "http" and self.matches_path(scope["raw_path"]) is not None
        return (Match.FULL if found else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the endpoint answer."""
        await self._endpoint(scope, receive, send)


def methods_allowed(routes: Sequence[RawRoute], raw_path: bytes) -> str | None:
    """`Allow` of a path; None if there is no such path."""
    for route in routes:
        if route.matches_path(raw_path) is not None:
            return route.allow
    return None


def template_of(routes: Sequence[RawRoute], raw_path: bytes) -> str | None:
    """The template of the route that a path belongs to; None if there is no such path."""
    for route in routes:
        if route.matches_path(raw_path) is not None:
            return route.path
    return None


def guards_itself(routes: Sequence[RawRoute], raw_path: bytes) -> bool:
    """Whether a path is of a route that finds out itself who asks."""
    return any(route.guards_itself and route.matches_path(raw_path) is not None for route in routes)


def is_same_origin(routes: Sequence[RawRoute], raw_path: bytes) -> bool:
    """Whether a path is of a route whose answers are for pages of this server alone."""
    return any(route.same_origin and route.matches_path(raw_path) is not None for route in routes)


class Methods:
    """A route's handlers by method. GET answers HEAD too; any other method is 405 with an empty body."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        self._handlers: Final = {**handlers, "HEAD": handlers["GET"]}
        self.allow: Final = ",".join((*handlers, "HEAD"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"])
        if handler is not None:
            response = await handler(Request(scope, receive, send))
        else:
            response = Response(status_code=405, headers={"Allow": self.allow})
        await response(scope, receive, send)
