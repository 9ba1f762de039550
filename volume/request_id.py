"""The id of the request that is being answered, which goes with the calls made meanwhile."""

from contextvars import ContextVar
from typing import Final

HEADER: Final = "x-amz-request-id"
CURRENT: Final[ContextVar[str]] = ContextVar("request id", default="")
"""Of the task that answers; empty outside of a request."""
