"""Lane `contract`, what takes time: keepalives, invitations and restarts, on servers with shorter ones."""

import asyncio
import shlex
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest

from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.procedure import Value
from tests.federation.proxy import Way
from tests.validation.long.test_contract import LANE
from tests.validation.neighbours import Neighbour, red, under
from tests.validation.proxy import FaultProxy
from tests.validation.rig import IDENTITY_HASH_KEY, Rig, served
from tests.validation.rules import NEWEST_SPACE_SQL, changed, with_field

FAULTED: Final = frozenset({"invitation", "socket-idle", "drain"})
SHORT: Final = {
    "LIMIT_KEEPALIVE_INTERVAL_S": "0.4",
    "LIMIT_SILENCE_TIMEOUT_S": "4",
    "LIMIT_INVITATION_DELAY_MIN_S": "0.1",
    "LIMIT_INVITATION_DELAY_MAX_S": "0.2",
}
IDLE: Final[dict[str, Value]] = {"idle_s": 2}
IDLES: Final = Neighbour("socket-idle", IDLE)
OTHERS: Final = tuple(one for one in LANE if one.procedure not in ("socket-idle", "sentinel"))
"""Those of the lane that look at a server with nothing planted."""
FEWER: Final = tuple(one for one in OTHERS if one.procedure != "invitation")
SOON: Final[dict[str, Value]] = {"deadline_ms": 1500}
DRAIN: Final[dict[str, Value]] = {"close_s": 10, "health_s": 20}


def failed(reason: str) -> Outcome:
    """A row that is red for this."""
    return Outcome(Status.FAILED, reason)


async def test_a_silent_connection_and_an_invitation(rig: Rig) -> None:
    proxy = rig.proxy()
    async with rig.beside(**SHORT):
        assert await rig.outcome("socket-idle", parameters=IDLE) == PASSED
        assert await rig.outcome("invitation", parameters=SOON) == PASSED
        proxy.lose(Way.DOWN, "keepalive")
        assert await rig.outcome("socket-idle", parameters=IDLE) == failed("no-keepalive")
        assert red(await under(lambda one: one.lose(Way.DOWN, "keepalive"), rig, OTHERS)) == {}
        proxy.mend()
        proxy.frame_delay_s = lambda frame: 20.0 if frame.name == "invitation" else 0.0
        assert await rig.outcome("invitation", parameters=SOON) == failed("not-announced")
        assert red(await under(lambda one: one.lose(Way.DOWN, "invitation"), rig, (IDLES, *FEWER))) == {}
        proxy.mend()
        proxy.cut()
        changed(Way.DOWN, "invitation.get:result", with_field(payload="another"))(proxy)
        assert await rig.outcome("invitation", parameters=SOON) == failed("get")
        assert await rig.outcome("read-only", target="candidate") == PASSED
        proxy.mend()
        proxy.alter(
            Way.UP, "invitation.delete", lambda frame: frame | {"method": "session.info", "params": {}}
        )
        assert await rig.outcome("invitation", parameters=SOON) == failed("delete")


async def test_a_proxy_that_closes_idle_connections(rig: Rig) -> None:
    """The server's keepalive, every 30 s here, is too rare for it. Nobody else is silent for so long."""

    def make(proxy: FaultProxy) -> None:
        proxy.idle_s = 4.0

    make(rig.proxy())
    assert await rig.outcome("socket-idle", parameters={"idle_s": 5}) == failed("closed:1006")
    assert red(await under(make, rig, FEWER)) == {}


class Restarts:
    """What the operator's command does to the server: it asks here, and waits for the end of it."""

    def __init__(self, rig: Rig, stack: AsyncExitStack) -> None:
        self.rig = rig
        self.stack = stack
        self.server = rig.server()
        self.do: Callable[[], Awaitable[None]] = self.rightly

    async def asked(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the command: a connection that ends when it is done."""
        await self.do()
        writer.close()

    async def rightly(self) -> None:
        """Stop the server, and start another in its place."""
        await self.stop()
        self.server = await self.stack.enter_async_context(
            served(self.server.database_url, self.server.data_dir, self.rig.key_set_url)
        )
        self.rig.proxy().target = self.server.port

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        self.server.process.signal(signal.SIGTERM)
        await self.server.process.wait(20)

    async def ignored(self) -> None:
        """SIGTERM, of which the server takes no notice as long as it is stopped."""
        self.server.process.signal(signal.SIGSTOP)
        self.server.process.signal(signal.SIGTERM)

    async def forgetful(self) -> None:
        """A restart after which something is gone."""
        await self.stop()
        await self.server.sql(f"DELETE FROM records WHERE cursor = 3 AND space_id = {NEWEST_SPACE_SQL}")
        await self.rightly()


@asynccontextmanager
async def restarts(rig: Rig) -> AsyncIterator[tuple[Restarts, dict[str, str]]]:
    """A server beside the rig's that may be restarted, and the variable with the command that asks for it."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(rig.beside())
        made = Restarts(rig, stack)
        listening = await stack.enter_async_context(await asyncio.start_server(made.asked, "127.0.0.1", 0))
        port = listening.sockets[0].getsockname()[1]
        program = f"import socket; socket.create_connection(('127.0.0.1', {port})).recv(1)"
        yield made, {"STAGING_RESTART_COMMAND": shlex.join((sys.executable, "-c", program))}


async def test_a_restart(rig: Rig) -> None:
    async with restarts(rig) as (made, inputs):
        # The code of a close: nobody else has the server close a connection.
        assert red(await under(lambda one: one.reclose(1001, 1012), rig, FEWER)) == {}
        row = await rig.row("drain", parameters=DRAIN, inputs=inputs)
        assert row.outcome == PASSED, row.lines
        made.do = made.forgetful
        run = rig.run(inputs=inputs)
        assert await rig.outcome("drain", parameters=DRAIN, run=run) == failed("missing")
        assert await rig.outcome("cleanup", run=run) == PASSED  # all that runs after it
        made.do = made.rightly
        rig.proxy().reclose(1001, 1012)
        assert await rig.outcome("drain", parameters=DRAIN, inputs=inputs) == failed("closed:1012")
        rig.proxy().mend()
        made.do = made.stop
        assert await rig.outcome("drain", parameters=DRAIN | {"health_s": 1}, inputs=inputs) == failed(
            "not-back"
        )


async def test_a_server_that_ignores_sigterm(rig: Rig) -> None:
    async with restarts(rig) as (made, inputs):
        made.do = made.ignored
        row = await rig.row("drain", parameters=DRAIN | {"close_s": 1}, inputs=inputs)
        assert row.outcome == failed("not-closed"), row.lines
        made.server.process.signal(signal.SIGCONT)
        assert await made.server.process.wait(20) == 0


@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        (None, Outcome(Status.BLOCKED, "input:STAGING_RESTART_COMMAND")),
        ("/nothing/there", Outcome(Status.ERROR, "command-not-found")),
    ],
)
async def test_without_a_command_nothing_is_restarted(
    rig: Rig, command: str | None, outcome: Outcome
) -> None:
    inputs = {} if command is None else {"STAGING_RESTART_COMMAND": command}
    assert await rig.outcome("drain", parameters=DRAIN | {"close_s": 1}, inputs=inputs) == outcome


async def test_a_server_that_limits_what_people_do_in_an_hour(rig: Rig) -> None:
    """One run stays within its limits; where somebody has used them up the row says nothing of the server."""
    limited = Outcome(Status.BLOCKED, "rate-limited")
    async with rig.beside(**SHORT, IDENTITY_HASH_KEY=IDENTITY_HASH_KEY):
        run = rig.run()
        for name in ("membership", "invitation"):
            assert await rig.outcome(name, run=run) == PASSED
    low = {"LIMIT_MEMBERSHIP_APPENDS_PER_WINDOW": "2", "LIMIT_INVITATIONS_PER_WINDOW": "1"}
    async with rig.beside(**SHORT, **low, IDENTITY_HASH_KEY=IDENTITY_HASH_KEY):
        assert await rig.outcome("membership") == limited
        run = rig.run()
        assert await rig.outcome("invitation", run=run) == PASSED
        assert await rig.outcome("invitation", run=run) == limited
