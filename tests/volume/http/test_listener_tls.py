"""Connections over TLS, whose transports hold bytes back on their own."""

import asyncio
import os
import ssl
from pathlib import Path

from less_sync.volume.http.response import Response
from tests.volume.http.connections import MIB, Client, Script, echo, serving, until
from tests.volume.security.certificates import Authority

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"


async def test_many_requests_and_long_answers_go_over_one_tls_connection(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.certify("volume")
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.path)
    server_tls.load_cert_chain(own.certificate, own.key)
    server_tls.verify_mode = ssl.CERT_REQUIRED
    client_tls = ssl.create_default_context(cafile=authority.path)
    client_tls.load_cert_chain(own.certificate, own.key)
    long, sent = os.urandom(2 * MIB), list[str]()
    script = Script(lambda request: long_answer() if request.path == "/long" else echo(request))

    def long_answer() -> Response:
        return Response(200, [], long, lambda: sent.append("over"))

    async with serving(script, idle_s=0.5, tls=server_tls) as server:
        silent_reader, silent = await asyncio.open_connection("127.0.0.1", server.port)
        client = Client(*await asyncio.open_connection("127.0.0.1", server.port, ssl=client_tls))
        client.send(GET * 20)
        assert [(await client.answer())[2] for _ in range(20)] == [b"GET /a 0 "] * 20
        for _ in range(3):
            client.send(GET.replace(b"/a", b"/long"))
            assert (await client.answer())[2] == long
        assert sent == ["over"] * 3
        # Neither who never says hello nor who says nothing else keeps a connection.
        assert await client.rest() == b""
        assert await silent_reader.read() == b""
        await until(lambda: not server.listener.connections)
        await client.close()
        silent.close()
