"""The NATS that tests run against: killed, stopped, and there again at the same address."""

import socket

import pytest

from tests.nats import NatsServer


def greeting(server: NatsServer, *, wait_s: float) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=wait_s) as found:
        return found.recv(5)


def test_a_server_is_there_again_at_its_address(nats_server: NatsServer) -> None:
    port, first = nats_server.port, nats_server.pid
    assert greeting(nats_server, wait_s=5.0) == b"INFO "
    nats_server.kill()
    with pytest.raises(ConnectionRefusedError):
        greeting(nats_server, wait_s=5.0)
    nats_server.start()
    assert (nats_server.port, nats_server.pid != first) == (port, True)
    assert greeting(nats_server, wait_s=5.0) == b"INFO "


def test_a_stopped_server_takes_connections_and_says_nothing(nats_server: NatsServer) -> None:
    nats_server.stop()
    with pytest.raises(TimeoutError):
        greeting(nats_server, wait_s=0.2)
    nats_server.cont()
    assert greeting(nats_server, wait_s=5.0) == b"INFO "
