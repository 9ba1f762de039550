"""Where the server is and who we are, from what a user types."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.bins.dev import DevIssuer, DevPeople, dev_personal_space_id
from less_sync.client.folder.access import (
    ServerOption,
    TokenOptions,
    is_exposed,
    server_url,
    tokens_from,
)
from less_sync.client.folder.errors import UsageProblem
from less_sync.sync.client import TokenUnavailable, personal_space


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (None, "ws://127.0.0.1:5379/api/v1/ws"),
        ("127.0.0.1:5379", "ws://127.0.0.1:5379/api/v1/ws"),
        ("127.8.8.8:1", "ws://127.8.8.8:1/api/v1/ws"),
        ("localhost", "ws://localhost:5379/api/v1/ws"),
        ("[::1]", "ws://[::1]:5379/api/v1/ws"),
        ("http://localhost/", "ws://localhost/api/v1/ws"),
        ("https://localhost:1", "wss://localhost:1/api/v1/ws"),
        ("sync.example.org", "wss://sync.example.org/api/v1/ws"),
        ("sync.example.org:8443/x", "wss://sync.example.org:8443/x/api/v1/ws"),
        ("https://h", "wss://h/api/v1/ws"),
        ("https://h/api/v1", "wss://h/api/v1/ws"),
        ("wss://h/api/v1/ws", "wss://h/api/v1/ws"),
        ("https://h/sync/", "wss://h/sync/api/v1/ws"),
        ("ws://[::1]:5379?x=1#y", "ws://[::1]:5379/api/v1/ws"),
    ],
)
def test_a_server_is_named_in_many_ways(text: str | None, url: str) -> None:
    assert server_url(ServerOption(text)) == url


@pytest.mark.parametrize("text", ["http://h:1/", "ws://localhost.example", "ws://10.0.0.1:5379"])
def test_a_token_leaves_this_machine_unencrypted_only_for_who_insists(text: str) -> None:
    with pytest.raises(UsageProblem, match="is not encrypted") as refused:
        server_url(ServerOption(text))
    assert refused.value.hint is not None
    assert "--insecure" in refused.value.hint
    assert server_url(ServerOption(text, insecure=True)).startswith("ws://")


@pytest.mark.parametrize(
    "text", [":80", "ftp://h", "http://", "http://h:port", "http://user:secret@h", "h:99999"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageProblem):
        server_url(ServerOption(text, insecure=True))


def test_only_plain_connections_through_a_network_are_exposed() -> None:
    assert is_exposed("ws://sync.example/api/v1/ws")
    assert not is_exposed("wss://sync.example/api/v1/ws")
    assert not is_exposed("ws://127.0.0.1:5379/api/v1/ws")


async def test_a_token_file_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "token"
    tokens = tokens_from(TokenOptions(file=file))
    assert tokens.renewable
    with pytest.raises(TokenUnavailable, match="cannot read"):
        await tokens.source()
    file.write_text("")
    with pytest.raises(TokenUnavailable, match="empty"):
        await tokens.source()
    for text in ("one", "two"):
        file.write_text(f"{text}\n")
        assert await tokens.source() == text


async def test_a_token_command_is_run_each_time_without_a_shell(tmp_path: Path) -> None:
    count = tmp_path / "count"
    program = f"p = __import__('pathlib').Path('{count}'); p.open('a').write('x'); print(len(p.read_text()))"
    tokens = tokens_from(TokenOptions(command=f'{sys.executable} -c "{program}"'))
    assert [await tokens.source() for _ in range(2)] == ["1", "2"]
    for command in (f'{sys.executable} -c "raise SystemExit(3)"', "/nowhere/at/all", "true"):
        with pytest.raises(TokenUnavailable):
            await tokens_from(TokenOptions(command=command)).source()
    for command in ("", "'unclosed"):
        with pytest.raises(UsageProblem):
            tokens_from(TokenOptions(command=command))


async def test_a_token_command_may_print_in_pieces_but_not_for_ever() -> None:
    pieces = "import time; [print(c, end='', flush=True) or time.sleep(0.05) for c in ('ab', 'cd', 'ef')]"
    assert await tokens_from(TokenOptions(command=f'{sys.executable} -c "{pieces}"')).source() == "abcdef"
    long = "print('x' * 100_000)"
    with pytest.raises(TokenUnavailable, match="printed more than 65536 bytes"):
        await tokens_from(TokenOptions(command=f'{sys.executable} -c "{long}"')).source()
    endless = "while True: print('x' * 1000)"
    with pytest.raises(TokenUnavailable, match="printed more than 65536 bytes"):
        await tokens_from(TokenOptions(command=f'{sys.executable} -c "{endless}"')).source()


async def test_a_token_file_that_is_none_is_not_cut(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"x" * 65_537)
    with pytest.raises(TokenUnavailable, match="more than 65536 bytes"):
        await tokens_from(TokenOptions(file=path)).source()


async def test_without_a_token_the_dev_issuer_mints_one_if_it_exists(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="no token"):
        tokens_from(TokenOptions(user="alice", data_dir=tmp_path, issuer=DevPeople.found_in(tmp_path)))
    assert not list(tmp_path.iterdir())
    DevIssuer(tmp_path)
    with pytest.raises(UsageProblem, match="no user"):
        tokens_from(TokenOptions(data_dir=tmp_path, issuer=DevPeople.found_in(tmp_path)))
    tokens = tokens_from(TokenOptions(user="alice", data_dir=tmp_path, issuer=DevPeople.found_in(tmp_path)))
    assert personal_space(await tokens.source()) == dev_personal_space_id("alice")


def test_two_sources_at_once_are_refused_and_no_token_is_shown() -> None:
    options = TokenOptions(token="secret", command="x")
    with pytest.raises(UsageProblem, match="more than one"):
        tokens_from(options)
    assert "secret" not in repr(options)


def test_the_personal_space_is_read_without_trusting_anything_else(tmp_path: Path) -> None:
    token = DevIssuer(tmp_path).mint("bob", now=datetime.now(UTC))
    assert isinstance(personal_space(token), UUID)
    for text in ("", "a.b.c", "....", token.split(".")[0], "e30.e30.e30", "e30.W10.e30", "e30.bnVsbA.x"):
        with pytest.raises(TokenUnavailable):
            personal_space(text)
