"""What a supervisor and a worker tell each other arrives as it was, and nothing else is taken."""

import asyncio
import socket
from pathlib import Path

import pytest

from less_sync.bins.settings.env_file import EnvFile
from less_sync.bins.settings.given import Given
from less_sync.bins.workers.messages import (
    MESSAGE_BYTES_MAX,
    Begin,
    Channel,
    ChannelBroken,
    Reload,
    Sources,
    Stop,
    ToWorker,
)

TIMEOUT_S = 30.0


async def test_settings_arrive_as_they_were_read() -> None:
    ours, theirs = socket.socketpair()
    sender: Channel[ToWorker] = await Channel.open(ours, ToWorker)
    receiver: Channel[ToWorker] = await Channel.open(theirs, ToWorker)
    given = Given(
        {"A": "é", "B": "not \udcff Unicode", "C": "x" * 1_000_000},
        {"WORKERS": "2"},
        EnvFile(Path("/etc/less-sync"), {"D": "1"}),
        embedded=True,
        issuers=b"\x00\xff",
    )
    begin = Begin(2, Sources.of(given), None, database="postgres:///x", listeners=(4, 5))
    for message in (begin, Reload(), Stop(replaced=True)):
        sender.send(message)
    got = await receiver.receive()
    assert got == begin
    assert isinstance(got, Begin)
    environment = {name: value for name, value in given.environment.items() if name != "B"}
    arrived = got.sources.given()
    assert (arrived.environment, arrived.options, arrived.file) == (environment, given.options, given.file)
    assert (arrived.embedded, arrived.dev, arrived.issuers) == (True, False, given.issuers)
    assert await receiver.receive() == Reload()
    assert await receiver.receive() == Stop(replaced=True)
    sender.close()
    assert await asyncio.wait_for(receiver.receive(), TIMEOUT_S) is None
    receiver.close()


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ((MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"), "a message is too long"),
        (b"\x00\x00\x00\x02{]", "a message is not understood"),
        (b"\x00\x00\x00\x10" + b'{"type":"Ready"}', "a message is not understood"),
    ],
)
async def test_what_is_no_message_is_refused(raw: bytes, reason: str) -> None:
    ours, theirs = socket.socketpair()
    receiver: Channel[ToWorker] = await Channel.open(theirs, ToWorker)
    with ours:
        ours.sendall(raw)
        with pytest.raises(ChannelBroken, match=f"^{reason}$"):
            await asyncio.wait_for(receiver.receive(), TIMEOUT_S)
    receiver.close()


async def test_half_a_message_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    receiver: Channel[ToWorker] = await Channel.open(theirs, ToWorker)
    with ours:
        ours.sendall(b"\x00\x00\x00\x09{")
    assert await asyncio.wait_for(receiver.receive(), TIMEOUT_S) is None
    receiver.close()
