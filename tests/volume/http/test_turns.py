"""Clients that send very much at once do not keep others waiting."""

from less_sync.volume.http.connection import TURN_REQUESTS_MAX
from less_sync.volume.http.request import Request
from less_sync.volume.http.response import Response
from tests.volume.http.connections import Script, echo, serving

GET = b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"
OTHER = b"GET /other HTTP/1.1\r\nHost: h\r\n\r\n"
CHUNKED = b"PUT /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


async def test_a_client_that_pipelines_waits_for_others_again_and_again() -> None:
    count = 2_000
    async with serving() as server:
        first, other = await server.client(), await server.client()
        for client in (first, other):
            client.send(GET)
            await client.answer()
        first.send(GET * count)
        other.send(OTHER)
        assert (await other.answer())[2] == b"GET /other 0 "
        for _ in range(count):
            assert (await first.answer())[2] == b"GET /a 0 "
        assert server.script.begun.index("/other") <= 200


async def test_what_a_client_sent_before_it_ended_is_answered_in_however_many_turns() -> None:
    count = 10 * TURN_REQUESTS_MAX
    async with serving() as server:
        client = await server.client()
        client.send(GET * count)
        client.writer.write_eof()
        assert (await client.rest()).count(b"GET /a 0 ") == count


async def test_a_body_of_very_many_chunks_is_read_in_turns() -> None:
    order: list[str] = []
    content = b"0123456789" * 1_000

    def finish(request: Request) -> Response:
        order.append(f"{request.path} whole")
        assert request.body is not None
        assert request.body.view() == content
        return echo(request)

    def begin(request: Request) -> Response | None:
        order.append(request.path)
        return None if request.method == "PUT" else echo(request)

    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
    async with serving(Script(begin, finish)) as server:
        first, other = await server.client(), await server.client()
        first.send(CHUNKED + chunks)
        other.send(OTHER)
        await other.answer()
        assert (await first.answer())[0] == 200
        first.send(CHUNKED + chunks)
        first.writer.write_eof()
        assert (await first.answer())[0] == 200
    assert order == ["/p", "/other", "/p whole", "/p", "/p whole"]
