"""Who may read and who may act, and the secrets that are kept for it."""

import os
import stat
from pathlib import Path
from uuid import UUID

import pytest

from less_sync.bins.admin.access import Access, kept_node_id, kept_token
from less_sync.bins.settings.parts import ListenAddress
from less_sync.client.kept_key import KeyFileError
from less_sync.sync.canary import CANARY_FIRST, CANARY_LAST, canary_space, is_canary

TOKEN = "a token of the operator".replace(" ", "-")
LOCAL = ListenAddress("127.0.0.1", 9100)
OPEN = Access(TOKEN, reading_is_free=True, name="127.0.0.1")
CLOSED = Access(TOKEN, reading_is_free=False, name="")
WITH_TOKEN = {"host": "127.0.0.1:9100", "x-admin-token": TOKEN}


def test_reading_on_loopback_needs_nothing_and_elsewhere_the_token() -> None:
    assert OPEN.reading({"host": "127.0.0.1:9100"}) is None
    assert CLOSED.reading({"x-admin-token": TOKEN}) is None
    for headers in ({}, {"x-admin-token": ""}, {"x-admin-token": TOKEN + "x"}, {"x-admin-token": "ä"}):
        refused = CLOSED.reading(headers)
        assert refused is not None
        assert refused.status == 401


@pytest.mark.parametrize(
    "host",
    [
        "localhost:1234",
        "Localhost",
        "127.0.0.1",
        "10.0.0.5:80",
        "[::1]:9100",
        "[::1]",
        "admin.internal:9",
        "",
    ],
)
def test_reading_on_loopback_is_free_under_addresses_and_own_names(host: str) -> None:
    access = Access(TOKEN, reading_is_free=True, name="Admin.internal")
    assert access.reading({"host": host}) is None


@pytest.mark.parametrize(
    "host", ["evil.example:9100", "evil.example", "127.0.0.1.evil.example:9100", "x:1:2", "a]"]
)
def test_a_name_that_was_made_to_stand_for_this_machine_reads_nothing_without_the_token(host: str) -> None:
    refused = OPEN.reading({"host": host})
    assert refused is not None
    assert refused.status == 401
    assert OPEN.reading({"host": host, "x-admin-token": TOKEN}) is None


def test_a_page_of_another_site_reads_nothing_though_its_links_lead_here() -> None:
    for site in ("cross-site", "same-site"):
        asked = {"host": "127.0.0.1:9100", "sec-fetch-site": site}
        for destination in ("empty", "image", "iframe"):
            refused = OPEN.reading(asked | {"sec-fetch-dest": destination})
            assert refused is not None
            assert refused.status == 403
        assert OPEN.reading(asked | {"sec-fetch-dest": "document"}) is None
    own = {"host": "127.0.0.1:9100", "sec-fetch-site": "same-origin", "sec-fetch-dest": "empty"}
    assert OPEN.reading(own) is None


def test_who_reads_without_a_host_is_no_page() -> None:
    assert OPEN.reading({}) is None


@pytest.mark.parametrize("host", ["127.0.0.1:9100", "localhost:9100", "LOCALHOST:9100"])
def test_an_action_needs_the_token_and_the_own_host(host: str) -> None:
    assert OPEN.acting(WITH_TOKEN | {"host": host}, LOCAL) is None
    refused = OPEN.acting({"host": host}, LOCAL)
    assert refused is not None
    assert refused.status == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "evil.example:9100"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:9101"},
        {"host": "127.0.0.1.evil.example:9100"},
        {"host": "[::1]:9100"},
        {"host": ""},
        {"origin": "http://127.0.0.1:9101"},
        {"origin": "http://localhost:9100"},
        {"origin": "https://127.0.0.1:9100"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_may_not_act_even_if_it_knew_the_token(changes: dict[str, str]) -> None:
    refused = OPEN.acting(WITH_TOKEN | changes, LOCAL)
    assert refused is not None
    assert refused.status == 403


def test_the_own_page_may_act() -> None:
    assert OPEN.acting(WITH_TOKEN | {"origin": "http://127.0.0.1:9100"}, LOCAL) is None
    at_localhost = {
        "host": "localhost:9100",
        "origin": "http://localhost:9100",
        "sec-fetch-site": "same-origin",
    }
    assert OPEN.acting(WITH_TOKEN | at_localhost, LOCAL) is None


@pytest.mark.parametrize(
    ("local", "name", "host"),
    [
        (ListenAddress("10.0.0.5", 9100), "", "10.0.0.5:9100"),
        (ListenAddress("::ffff:10.0.0.5", 9100), "", "10.0.0.5:9100"),
        (ListenAddress("::1", 9100), "::1", "[::1]:9100"),
        (ListenAddress("::1", 9100), "::1", "localhost:9100"),
        (ListenAddress("10.0.0.5", 9100), "Admin.internal", "admin.internal:9100"),
        (ListenAddress("127.0.0.1", 80), "127.0.0.1", "127.0.0.1"),
    ],
)
def test_the_own_host_is_where_the_connection_arrived_or_how_the_operator_calls_it(
    local: ListenAddress, name: str, host: str
) -> None:
    access = Access(TOKEN, reading_is_free=False, name=name)
    assert access.acting(WITH_TOKEN | {"host": host}, local) is None
    assert access.acting(WITH_TOKEN | {"host": "other.internal:9100"}, local) is not None


def test_localhost_is_no_name_of_an_address_that_others_reach() -> None:
    refused = CLOSED.acting(WITH_TOKEN | {"host": "localhost:9100"}, ListenAddress("10.0.0.5", 9100))
    assert refused is not None
    assert refused.status == 403


def test_no_secret_is_shown_by_repr() -> None:
    assert TOKEN not in repr(OPEN)


def test_the_token_is_made_once_and_is_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    token = kept_token(data_dir)
    assert len(token) == 43
    assert kept_token(data_dir) == token
    assert stat.S_IMODE((data_dir / "admin-token").stat().st_mode) == 0o600
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
    assert kept_token(tmp_path / "other") != token


@pytest.mark.parametrize("content", ["", "\n", "short", "x" * 257, "with blanks between the words"])
def test_a_file_without_a_token_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "admin-token"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match="does not hold a token"):
        kept_token(tmp_path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_token_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "admin-token"
    path.write_text("x" * 43)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        kept_token(tmp_path)


def test_a_pipe_in_the_place_of_a_token_does_not_hold_up_the_start(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "admin-token", 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        kept_token(tmp_path)


def test_a_token_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "admin-token"
    path.write_text("x" * 43)
    path.chmod(0o600)
    assert kept_token(tmp_path) == "x" * 43
    with pytest.raises(KeyFileError, match="another user"):
        kept_token(tmp_path, user=os.geteuid() + 1)


def test_a_server_keeps_its_id(tmp_path: Path) -> None:
    node = kept_node_id(tmp_path)
    assert kept_node_id(tmp_path) == node
    assert kept_node_id(tmp_path / "other") != node
    (tmp_path / "node-id").write_text("abc")
    with pytest.raises(KeyFileError, match="32 hexadecimal digits"):
        kept_node_id(tmp_path)


def test_the_space_of_a_server_is_told_by_its_id() -> None:
    spaces = {canary_space(bytes((number,)) * 16) for number in range(50)}
    assert len(spaces) == 50
    assert canary_space(bytes(16)) == canary_space(bytes(16))
    for space in spaces:
        assert (space.version, is_canary(space)) == (8, True)
        assert space.bytes[:6] == b"lesssy"
        assert CANARY_FIRST <= space <= CANARY_LAST
    assert not is_canary(UUID("6c657373-7379-4e63-8000-000000000000"))
    with pytest.raises(ValueError, match="16 bytes"):
        canary_space(bytes(15))
