"""Who may do what: tokens checked to the letter, the white list, and where the settings come from."""

import base64
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest

from less_sync.volume.options import DirectoryOptions, Options
from less_sync.volume.security.security import Security
from less_sync.volume.security.tokens import VERIFIED_MAX, Tokens
from less_sync.volume.security.white_list import WhiteList

KEY = "volume-server-write-key-of-some-length-that-nobody-warns-of-as-too-short"
NOW = 1_700_000_000.0
NAME = "3,01637037d6"


def signed(claims: dict[str, Any], *, key: str = KEY, algorithm: str = "HS256") -> str:
    return jwt.encode(claims, key, algorithm)


def by_hand(head: object, claims: object, *, key: str = KEY) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=") for one in (head, claims)]
    signature = hmac.digest(key.encode(), b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def tokens(now: float = NOW) -> Tokens:
    return Tokens(KEY.encode(), lambda: now)


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_a_token_of_each_algorithm_allows_its_file_and_no_other(algorithm: str) -> None:
    checked = tokens()
    token = signed({"fid": NAME}, algorithm=algorithm)
    for _ in range(2):  # as read, and as remembered
        assert checked.allow(token, NAME)
        assert not checked.allow(token, "3,01637037D6")
        assert not checked.allow(token, "03,01637037d6")
        assert not checked.allow(token, "")


def test_a_token_is_in_force_from_its_nbf_until_before_its_exp() -> None:
    token = signed({"fid": NAME, "exp": 1_700_000_001, "nbf": 1_699_999_999.5})
    held = {now: tokens(NOW + now).allow(token, NAME) for now in (-0.6, -0.5, 0.0, 0.99, 1.0, 9.0)}
    assert held == {-0.6: False, -0.5: True, 0.0: True, 0.99: True, 1.0: False, 9.0: False}


def test_a_token_that_was_good_is_not_once_it_has_expired() -> None:
    now = [NOW]
    checked = Tokens(KEY.encode(), lambda: now[0])
    token = signed({"fid": NAME, "exp": int(NOW) + 5})
    assert checked.allow(token, NAME)
    now[0] += 5
    assert not checked.allow(token, NAME)


def test_other_claims_are_not_looked_at() -> None:
    token = signed({"fid": NAME, "iat": int(NOW) + 999, "aud": "x", "iss": "y", "sub": "z", "exp": None})
    assert tokens().allow(token, NAME)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "garbage",
        "a.b.c",
        "..",
        "é.b.c",
        signed({"fid": NAME}, key="another-key" * 8),
        signed({"fid": NAME}) + "=",
        signed({"fid": NAME})[:-3],
        signed({"fid": NAME}) + ".x",
        " " + signed({"fid": NAME}),
        signed({}),
        signed({"fid": 3}),
        signed({"fid": NAME, "exp": True}),
        by_hand({"alg": "HS256"}, {"fid": NAME, "exp": "9999999999"}),
        by_hand({"alg": "HS256"}, {"fid": NAME, "nbf": [1]}),
        by_hand({"alg": "none"}, {"fid": NAME}),
        by_hand({"alg": "RS256"}, {"fid": NAME}),
        by_hand({"alg": ["HS256"]}, {"fid": NAME}),
        by_hand({}, {"fid": NAME}),
        by_hand([], {"fid": NAME}),
        by_hand({"alg": "HS256"}, [NAME]),
        "A" * 100_000,
        base64.urlsafe_b64encode(b'{"alg":"HS256"' + b"[" * 5000).decode() + ".e30.AA",
    ],
    ids=range(23),
)
def test_what_is_no_good_token_is_refused(token: str) -> None:
    assert not tokens().allow(token, NAME)


def test_more_tokens_than_are_remembered_stay_good() -> None:
    checked = tokens()
    first = signed({"fid": NAME})
    assert checked.allow(first, NAME)
    for number in range(VERIFIED_MAX + 1):
        assert checked.allow(by_hand({"alg": "HS256"}, {"fid": str(number)}), str(number))
    assert len(checked._verified) == VERIFIED_MAX
    assert checked.allow(first, NAME)


def test_a_white_list_compares_addresses_as_text_and_networks_as_networks() -> None:
    listed = WhiteList(["10.0.0.1", "192.168.0.0/16", "2001:db8::/32", "300.0.0.0/8", " ", ""])
    addresses = ("10.0.0.1", "10.0.0.2", "192.168.7.7", "192.169.0.1", "2001:db8::7", "::1", "words")
    for _ in range(2):
        assert [one for one in addresses if listed.lists(one)] == ["10.0.0.1", "192.168.7.7", "2001:db8::7"]
    assert listed.lists("::ffff:10.0.0.1")


def test_an_empty_white_list_lists_everybody_and_one_of_nothing_readable_nobody() -> None:
    assert WhiteList(["", " "]).lists("10.0.0.1")
    assert not WhiteList(["10.0.0.0/99"]).lists("10.0.0.1")


def security(
    tmp_path: Path, text: str | None, environment: dict[str, str] | None = None, **more: Any
) -> Security:
    if text is not None:
        (tmp_path / "security.toml").write_text(text)
    options = Options((DirectoryOptions(tmp_path),), config_directory=tmp_path, **more)
    return Security(options, environment or {}, clock=lambda: NOW)


BOTH_KEYS = '[jwt.signing]\nkey = "w"\nexpires_after_seconds = 60\n[jwt.signing.read]\nkey = "r"\n'


def test_keys_for_reading_and_writing_are_independent(tmp_path: Path) -> None:
    found = security(tmp_path, BOTH_KEYS)
    assert (found.wants_token(True), found.wants_token(False)) == (True, True)
    write, read = (
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="w"),
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="r"),
    )
    assert found.token_allows(write, "3", "01637037d6", write=True)
    assert not found.token_allows(write, "3", "01637037d6", write=False)
    assert found.token_allows(read, "3", "01637037d6", write=False)
    only_read = security(tmp_path, '[jwt.signing.read]\nkey = "r"\n')
    assert (only_read.wants_token(True), only_read.wants_token(False)) == (False, True)
    assert only_read.token_allows("nonsense", "3", "01637037d6", write=True)


def test_a_token_covers_the_deltas_of_its_file(tmp_path: Path) -> None:
    found = security(tmp_path, BOTH_KEYS)
    token = by_hand({"alg": "HS256"}, {"fid": NAME}, key="w")
    assert found.token_allows(token, "3", "01637037d6_1", write=True)
    assert not found.token_allows(token, "3", "01637037d6_1_2", write=True)
    assert not found.token_allows(token, "3", "_01637037d6", write=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [(None, True), ("", True), (BOTH_KEYS, False), (BOTH_KEYS + "[access]\nui = true\n", True)],
    ids=["no file", "no keys", "keys", "keys and access"],
)
def test_the_page_is_shown_unless_writing_needs_a_token(
    tmp_path: Path, text: str | None, shown: bool
) -> None:
    assert security(tmp_path, text).ui_allowed is shown


def test_reading_again_exchanges_keys_and_list_and_keeps_what_is_gone(tmp_path: Path) -> None:
    found = security(tmp_path, BOTH_KEYS + '[guard]\nwhite_list = "10.0.0.1, 10.0.0.2"\n')
    (tmp_path / "security.toml").write_text('[JWT.Signing]\nKEY = "new"\n[access]\nui = true\n')
    found.reload()
    assert found.token_allows(
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="new"), "3", "01637037d6", write=True
    )
    assert not found.token_allows(
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="w"), "3", "01637037d6", write=True
    )
    assert found.token_allows(
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="r"), "3", "01637037d6", write=False
    )
    assert found.listed("10.0.0.2")
    assert not found.listed("10.0.0.3")
    assert not found.ui_allowed
    for broken in (b"[jwt", b"\xff\xfe", b"a = " + b"[" * 20_000, b""):
        (tmp_path / "security.toml").write_bytes(broken)
        found.reload()
    (tmp_path / "security.toml").unlink()
    found.reload()
    assert found.token_allows(
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="new"), "3", "01637037d6", write=True
    )


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    environment = {"WEED_JWT_SIGNING_KEY": "env", "WEED_GUARD_WHITE_LIST": "", "WEED_ACCESS_UI": "1"}
    found = security(tmp_path, BOTH_KEYS + '[guard]\nwhite_list = ["10.0.0.1"]\n', environment)
    assert found.token_allows(
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="env"), "3", "01637037d6", write=True
    )
    assert not found.token_allows(
        by_hand({"alg": "HS256"}, {"fid": NAME}, key="w"), "3", "01637037d6", write=True
    )
    assert not found.listed("10.0.0.9")
    assert found.ui_allowed


def test_a_key_may_be_any_bytes_and_a_home_that_is_not_known_is_left_as_it_stands(tmp_path: Path) -> None:
    environment = {"WEED_JWT_SIGNING_KEY": "\udcff", "WEED_GRPC_CA": "~/ca", "WEED_HTTPS_CLIENT_CA": "~x/ca"}
    found = security(tmp_path, None, environment)
    assert found.wants_token(True)
    assert found.settings.path("grpc.ca") == Path("~/ca")
    environment["HOME"] = "/h"
    assert found.settings.path("grpc.ca") == Path("/h/ca")
    assert found.settings.path("https.client.ca") == Path("~x/ca")


def test_the_flag_s_white_list_and_the_file_s_are_one(tmp_path: Path) -> None:
    found = security(tmp_path, '[guard]\nwhite_list = "10.0.0.1"\n', white_list=("172.16.0.0/12",))
    assert [ip for ip in ("10.0.0.1", "172.16.5.5", "10.0.0.2") if found.listed(ip)] == [
        "10.0.0.1",
        "172.16.5.5",
    ]


def test_the_first_of_the_places_counts_and_a_named_file_replaces_the_search(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / ".seaweedfs").mkdir(parents=True)
    (home / ".seaweedfs" / "security.toml").write_text('[jwt.signing]\nkey = "home"\n')
    environment = {"HOME": str(home)}
    assert security(tmp_path, None, environment).settings.text("jwt.signing.key") == "home"
    assert security(tmp_path, BOTH_KEYS, environment).settings.text("jwt.signing.key") == "w"
    named = tmp_path / "named.toml"
    named.write_text('[jwt.signing]\nkey = "named"\n')
    assert security(tmp_path, BOTH_KEYS, security_file=named).settings.text("jwt.signing.key") == "named"
    absent = security(tmp_path, BOTH_KEYS, security_file=tmp_path / "absent.toml")
    assert absent.settings.text("jwt.signing.key") == ""
