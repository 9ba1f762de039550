"""Waits of checks that have more than one connection, or that listen for what may come."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from less_sync.sync.protocol.frames import Notification
from less_sync.validation.conversation import Conversation

Result = TypeVar("Result")


async def together(*works: Coroutine[Any, Any, Result]) -> list[Result]:
    """Do all side by side. What the first raises that fails is raised, when the others have been stopped."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def heard(conversation: Conversation, method: str, within_s: float) -> object | None:
    """The params of the next notification of a method, others passed over; None when none comes in time."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    try:
        while True:
            frame = await conversation.next(max(0.0, deadline_s - loop.time()))
            if isinstance(frame, Notification) and frame.method == method:
                return frame.params
    except TimeoutError:
        return None


async def heard_by_now(conversation: Conversation, method: str) -> list[object]:
    """The params of all notifications of a method that the server has sent before it answers once more."""
    await conversation.barrier()
    kept = [frame for frame in conversation.unread if isinstance(frame, Notification)]
    conversation.unread.clear()
    return [frame.params for frame in kept if frame.method == method]
