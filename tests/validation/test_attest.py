"""Digests and signatures: the vector, an independent reader of envelopes, keys and those who are trusted."""

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from less_sync.validation.attest import (
    EvidenceFault,
    NotSigned,
    SigningKey,
    envelope,
    kept_signing_key,
    parse_signing_key,
    parse_trusted_keys,
    pre_authentication,
    signed_payload,
    statement,
    sums,
)
from less_sync.validation.decision import Reason
from tests.validation.reports import FAILED, ROWS, read, results, row

KEY: Final = SigningKey(bytes(range(32)))
OTHER: Final = SigningKey(bytes(32))
KEYID: Final = "56475aa75463474c0285df5dbf2bcab73da651358839e9b77481b2eab107708c"
SIGNATURE: Final = "dWG98CPWh3lAzt/mxzJ7Nc6Avgf2tjap4msM5gNmMV9Lpu+TWkZMk3lP/u6Su450zcqkLQw21MTZfwU07XgjCw=="


def test_the_vector() -> None:
    assert pre_authentication(b"{}") == b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
    assert KEY.keyid == KEYID
    assert json.loads(envelope(b"{}", KEY)) == {
        "payload": "e30=",
        "payloadType": "application/vnd.in-toto+json",
        "signatures": [{"keyid": KEYID, "sig": SIGNATURE}],
    }


def independent(content: bytes, public: bytes) -> dict[str, Any]:
    """The payload of an envelope, read and checked by nothing of ours."""
    body = json.loads(content)
    payload, kind = base64.b64decode(body["payload"]), body["payloadType"].encode()
    message = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    (one,) = body["signatures"]
    assert one["keyid"] == hashlib.sha256(public).hexdigest()
    Ed25519PublicKey.from_public_bytes(public).verify(base64.b64decode(one["sig"]), message)
    read: dict[str, Any] = json.loads(payload)
    return read


def _statement(told: Any) -> bytes:
    return statement(
        told, sums_sha256="11" * 32, sums_path="docs/reports/small/x/SHA256SUMS", manifest_sha256="22" * 32
    )


def test_an_independent_reader_accepts_what_was_signed() -> None:
    told = read(results())
    body = independent(envelope(_statement(told), KEY), KEY.public)
    assert body["_type"] == "https://in-toto.io/Statement/v1"
    assert body["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert body["subject"] == [
        {"name": "docs/reports/small/x/SHA256SUMS", "digest": {"sha256": "11" * 32}},
        {"name": "candidate", "digest": {"sha256": "ab" * 32}},
    ]
    assert body["predicate"] == {
        "result": "FAILED",
        "configuration": [{"name": "manifest.toml", "digest": {"sha256": "22" * 32}}],
        "passedTests": ["one", "seven"],
        "warnedTests": ["three", "eight"],
        "failedTests": ["two", "four", "five", "six"],
        "lessSync": {
            "decision": "NO-GO",
            "kind": "selfhost",
            "stage": "before",
            "mode": "gate",
            "stableDigest": told.stable_digest,
            "startedAt": "2026-05-04T03:02:01Z",
            "finishedAt": "2026-05-04T03:04:01Z",
        },
    }


@pytest.mark.parametrize(
    ("made", "result"),
    [
        (results([row("one")]), "PASSED"),
        (results([row("one"), row("two", FAILED, required=False)]), "WARNED"),
        (results([row("one", FAILED)]), "FAILED"),
        (results([row("one")], baseline=True), "FAILED"),
        (results([row("one")], decision="NO-GO", decision_reasons=(Reason("secret-in-report"),)), "FAILED"),
    ],
)
def test_only_a_go_has_passed(made: Any, result: str) -> None:
    assert json.loads(_statement(read(made)))["predicate"]["result"] == result


def test_the_signature_of_a_trusted_key_is_accepted_among_others() -> None:
    payload = _statement(read(results(ROWS)))
    one, two = json.loads(envelope(payload, KEY)), json.loads(envelope(payload, OTHER))
    both = json.dumps(one | {"signatures": two["signatures"] + one["signatures"]}).encode()
    assert signed_payload(both, {KEY.keyid: KEY.public}) == (payload, KEY.keyid)


def _changed(**members: Any) -> bytes:
    return json.dumps(json.loads(envelope(b'{"a":1}', KEY)) | members).encode()


@pytest.mark.parametrize(
    "content",
    [
        _changed(payload=base64.b64encode(b'{"a":2}').decode()),
        _changed(payload="e30"),
        _changed(payload="\u00e9"),
        _changed(payloadType="text/plain"),
        _changed(signatures=[]),
        _changed(signatures=[{"keyid": KEYID, "sig": "AAAA"}]),
        _changed(signatures=[{"keyid": KEYID, "sig": "\u00e9"}]),
        _changed(signatures=[{"sig": SIGNATURE}]),
        _changed(signatures={}),
        envelope(b'{"a":1}', OTHER),
        b"[" * 100_000,
        b"",
        b" " * (5 * 1024 * 1024),
    ],
)
def test_anything_else_is_not_signed(content: bytes) -> None:
    assert signed_payload(envelope(b'{"a":1}', KEY), {KEYID: KEY.public})
    with pytest.raises(NotSigned):
        signed_payload(content, {KEYID: KEY.public})


def test_a_key_is_made_at_first_use_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "new" / "validation.key"
    key = kept_signing_key(path)
    assert kept_signing_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(key.seed) == 32
    assert path.read_text() == f"{key.text()}\n"
    assert repr(key) == "SigningKey()"


def test_a_bare_seed_is_a_key_too() -> None:
    assert parse_signing_key(base64.urlsafe_b64encode(KEY.seed).decode().rstrip("=") + "\n") == KEY


@pytest.mark.parametrize("content", [b"", b"x", b"less-sync-signing-key-1:AAAA", b"\xff" * 43, b"A" * 44])
def test_what_is_no_key_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    with pytest.raises(EvidenceFault, match="does not hold a signing key") as caught:
        kept_signing_key(path)
    assert caught.value.code == "not-signable"


def test_a_key_that_cannot_be_read_is_a_fault_of_the_evidence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "file" / "key"):
        with pytest.raises(EvidenceFault):
            kept_signing_key(path)


def test_trusted_keys_are_read_by_their_ids() -> None:
    text = f"# who may sign\n\n{KEY.trusted_line('ci of example')}\n{OTHER.trusted_line('')}\n"
    assert parse_trusted_keys(text.encode()) == {KEY.keyid: KEY.public, OTHER.keyid: OTHER.public}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (KEY.trusted_line("").replace(KEYID, OTHER.keyid), "line 2: the id is not that of the key"),
        (KEYID, "line 2 is not an id"),
        (f"{KEYID} AAAA", "line 2 is not an id"),
        (f"{KEYID} \u00e9", "line 2 is not an id"),
    ],
)
def test_a_line_that_is_no_trusted_key_is_named(line: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_trusted_keys(f"# x\n{line}\n".encode())


def test_sums_are_sorted_by_the_bytes_of_paths() -> None:
    made = sums({"logs/b.log": "22" * 32, "a": "11" * 32, "SUMMARY.md": "33" * 32})
    assert made.decode().splitlines() == [
        f"{'33' * 32}  SUMMARY.md",
        f"{'11' * 32}  a",
        f"{'22' * 32}  logs/b.log",
    ]
