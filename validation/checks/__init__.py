"""The procedures, lane by lane: each an ordinary coroutine function that measures and never judges."""
