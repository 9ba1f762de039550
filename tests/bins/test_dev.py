import base64
import json
import multiprocessing
import stat
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from less_sync.auth import TokenPolicy, TrustedIssuers, parse_jwks, parse_token, verify_token
from less_sync.bins.dev import (
    DEV_CLIENT_ID,
    DEV_ISSUER,
    DevIssuer,
    dev_identity_hash_key,
    dev_mailbox_id,
    dev_personal_space_id,
)
from less_sync.client.kept_key import KeyFileError

NOW = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
NOW_S = int(NOW.timestamp())


def claims_of(token: str) -> dict[str, object]:
    payload = token.split(".")[1]
    claims: dict[str, object] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def hash_key_hex(data_dir: Path) -> str:
    return dev_identity_hash_key(data_dir).hex()


def key_id(data_dir: Path) -> str:
    return DevIssuer(data_dir).jwks()["keys"][0]["kid"]


def test_the_server_accepts_a_minted_token_and_reads_every_claim(tmp_path: Path) -> None:
    issuer = DevIssuer(tmp_path)
    token = issuer.mint("alice", now=NOW)
    keys = parse_jwks(json.dumps(issuer.jwks()).encode())
    parsed = parse_token(token, TrustedIssuers.of([issuer.issuer]))
    policy = TokenPolicy(audiences=frozenset({"less-sync"}), personal_space_check="derive")
    identity = verify_token(parsed, keys[parsed.kid], policy=policy, now=NOW_S)

    assert identity.issuer == "https://dev.less-sync.invalid"
    assert identity.user_id == "alice"
    assert identity.client_id == "less-sync-dev"
    assert identity.personal_space_id == str(dev_personal_space_id("alice"))
    assert identity.mailbox_id == dev_mailbox_id("alice")
    assert identity.scope == "sync files"
    assert identity.did.startswith("did:key:zDn")


def test_another_library_accepts_a_minted_token_until_it_expires(tmp_path: Path) -> None:
    issuer = DevIssuer(tmp_path)
    key = jwt.PyJWK(issuer.jwks()["keys"][0]).key
    live = issuer.mint("alice", now=datetime.now(UTC))
    claims = jwt.decode(live, key, algorithms=["ES256"], audience="less-sync", issuer=DEV_ISSUER)
    assert claims["exp"] - claims["iat"] == 24 * 60 * 60
    dead = issuer.mint("alice", now=NOW.replace(year=2020), ttl_s=60)
    with pytest.raises(jwt.ExpiredSignatureError):
        jwt.decode(dead, key, algorithms=["ES256"], audience="less-sync", issuer=DEV_ISSUER)


def test_a_token_says_what_was_asked_for(tmp_path: Path) -> None:
    token = DevIssuer(tmp_path).mint("bob", now=NOW, ttl_s=7, did="did:key:zOther", scope="sync")
    assert claims_of(token) == {
        "iss": "https://dev.less-sync.invalid",
        "sub": "bob",
        "aud": ["less-sync"],
        "client_id": "less-sync-dev",
        "iat": NOW_S,
        "exp": NOW_S + 7,
        "scope": "sync",
        "did": "did:key:zOther",
        "personal_space_id": str(dev_personal_space_id("bob")),
        "mailbox_id": dev_mailbox_id("bob"),
    }
    assert not (tmp_path / "dev" / "users").exists()


def test_a_token_without_life_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one second"):
        DevIssuer(tmp_path).mint("bob", now=NOW, ttl_s=0)


def test_the_personal_space_is_derived_under_the_betterbase_root() -> None:
    root = UUID("c8362c28-0504-5522-9ba6-6e7ed1d76153")
    assert dev_personal_space_id("alice") == uuid5(root, f"{DEV_ISSUER}\0alice\0{DEV_CLIENT_ID}")


def test_mailboxes_are_64_lower_case_hexadecimal_digits_and_differ() -> None:
    one, other = dev_mailbox_id("alice"), dev_mailbox_id("Alice")
    assert len(one) == 64
    assert set(one) <= set("0123456789abcdef")
    assert one != other


def test_keys_outlive_the_process_and_are_private(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    first = DevIssuer(data_dir)
    user_key = first.user_key("alice").private_numbers()
    second = DevIssuer(data_dir)
    assert second.jwks() == first.jwks()
    assert second.user_key("alice").private_numbers() == user_key
    assert second.user_key("bob").private_numbers() != user_key
    assert dev_identity_hash_key(data_dir) == dev_identity_hash_key(data_dir)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (data_dir, *data_dir.rglob("*"))}
    assert {mode for path, mode in modes.items() if path.is_dir()} == {0o700}
    assert {mode for path, mode in modes.items() if path.is_file()} == {0o600}
    assert len([path for path in modes if path.is_file()]) == 4


def test_processes_that_start_together_agree_on_the_keys(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(key_id, [tmp_path] * 16, chunksize=1))) == 1
        assert len(set(pool.map(hash_key_hex, [tmp_path] * 16, chunksize=1))) == 1
    assert sorted(path.name for path in (tmp_path / "dev").iterdir()) == ["identity-hash-key", "issuer.pem"]


def test_the_did_is_the_compressed_point_of_the_users_key(tmp_path: Path) -> None:
    issuer = DevIssuer(tmp_path)
    did = str(claims_of(issuer.mint("alice", now=NOW))["did"])
    number = 0
    for digit in did.removeprefix("did:key:z"):
        number = number * 58 + "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz".index(digit)
    decoded = number.to_bytes(35, "big")
    assert decoded[:2] == b"\x80\x24"
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decoded[2:])
    assert public == issuer.user_key("alice").public_key()


@given(user=st.text(min_size=1, max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_user_name_leaves_the_folder_of_user_keys(tmp_path: Path, user: str) -> None:
    issuer = DevIssuer(tmp_path)
    try:
        issuer.user_key(user)
    except ValueError:
        assert any(ord(character) < 0x20 or ord(character) == 0x7F for character in user)
    entries = {path.name for path in tmp_path.rglob("*") if path.parent.name != "users"}
    assert entries <= {"dev", "issuer.pem", "users"}


@pytest.mark.parametrize(
    "user", ["../../etc/passwd", ".", "a/b", "ALICE", "alice", "con", "Ünïcode", "x" * 256]
)
def test_an_odd_user_name_has_a_key_of_its_own(tmp_path: Path, user: str) -> None:
    issuer = DevIssuer(tmp_path)
    key = issuer.user_key(user).private_numbers()
    assert issuer.user_key("somebody else").private_numbers() != key
    assert issuer.user_key(user).private_numbers() == key
    assert len(list((tmp_path / "dev" / "users").iterdir())) == 2


@pytest.mark.parametrize("user", ["", "x" * 257, "a\0b", "line\nbreak", "\x7f", "\ud800"])
def test_what_is_no_user_name_is_refused(tmp_path: Path, user: str) -> None:
    with pytest.raises(ValueError, match="user's name"):
        DevIssuer(tmp_path).mint(user, now=NOW)


@pytest.mark.parametrize("content", [b"", b"not a key", b"\xff" * 5000])
def test_a_damaged_key_file_is_named(tmp_path: Path, content: bytes) -> None:
    DevIssuer(tmp_path)
    path = tmp_path / "dev" / "issuer.pem"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"issuer\.pem does not hold a private key"):
        DevIssuer(tmp_path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dev" / "issuer.pem"
    path.parent.mkdir()
    for key in (ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP384R1())):
        path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        with pytest.raises(KeyFileError, match="does not hold a P-256 key"):
            DevIssuer(tmp_path)


def test_a_damaged_identity_hash_key_is_named(tmp_path: Path) -> None:
    dev_identity_hash_key(tmp_path)
    (tmp_path / "dev" / "identity-hash-key").write_text("00" * 31)
    with pytest.raises(KeyFileError, match="identity-hash-key does not hold 64"):
        dev_identity_hash_key(tmp_path)


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match=r"cannot keep a key in .*issuer\.pem: Not a directory"):
        DevIssuer(tmp_path / "file" / "data")
