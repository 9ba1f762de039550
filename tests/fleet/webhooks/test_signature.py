"""Signatures of webhooks, judged by the library that receivers use (Standard Webhooks 1.0.0)."""

import base64
import hashlib
import hmac
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from less_sync.fleet.webhooks.signature import (
    new_secret,
    parse_secret,
    secret_text,
    signed_headers,
)

EVENT_ID = "msg_01JZ8V0000000000000000000"
BODY = json.dumps({"type": "agent.stale", "data": {"name": "Zürich"}}).encode()


@given(st.binary(min_size=24, max_size=64), st.dictionaries(st.text(), st.integers()))
def test_receivers_library_verifies_what_is_signed(secret: bytes, content: dict[str, int]) -> None:
    body = json.dumps(content).encode()
    headers = signed_headers(EVENT_ID, int(time.time()), body, [secret])
    assert Webhook(secret_text(secret)).verify(body, dict(headers)) == content


def test_during_an_overlap_either_secret_verifies_and_no_other() -> None:
    old, new, other = new_secret(), new_secret(), new_secret()
    headers = dict(signed_headers(EVENT_ID, int(time.time()), BODY, [new, old]))
    for secret in (old, new):
        Webhook(secret_text(secret)).verify(BODY, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(other)).verify(BODY, headers)
    first, _ = headers["webhook-signature"].split(" ")
    assert (
        first
        == dict(signed_headers(headers["webhook-id"], int(headers["webhook-timestamp"]), BODY, [new]))[
            "webhook-signature"
        ]
    ), "the new one comes first"


@pytest.mark.parametrize("part", ["webhook-id", "webhook-timestamp", "body"])
def test_what_is_altered_does_not_verify(part: str) -> None:
    secret = new_secret()
    headers = dict(signed_headers(EVENT_ID, int(time.time()), BODY, [secret]))
    body = BODY
    match part:
        case "webhook-id":
            headers[part] = EVENT_ID[:-1] + "1"
        case "webhook-timestamp":
            headers[part] = str(int(headers[part]) + 1)
        case _:
            body += b" "
    with pytest.raises(WebhookVerificationError):
        Webhook(secret_text(secret)).verify(body, headers)


def test_older_receivers_find_a_signature_of_the_body_alone() -> None:
    secret = new_secret()
    headers = dict(signed_headers(EVENT_ID, 1, BODY, [secret, new_secret()]))
    assert headers["X-Webhook-Signature"] == "sha256=" + hmac.new(secret, BODY, hashlib.sha256).hexdigest()


def test_fixed_vector() -> None:
    """The example of the standard's own library."""
    secret = parse_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [secret])
    assert dict(headers)["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.binary(min_size=24, max_size=64))
def test_a_secret_of_the_operators_own_is_taken(secret: bytes) -> None:
    assert parse_secret(secret_text(secret)) == secret


@pytest.mark.parametrize(
    "text",
    [
        *("", "whsec_", "whsec_!", "whsec_" + "A" * 33, "whsec_ä" + "A" * 31),
        base64.b64encode(bytes(32)).decode(),
        secret_text(bytes(23)),
        secret_text(bytes(65)),
        secret_text(bytes(32)).rstrip("="),
        secret_text(bytes(32)) + "\n",
        "whsec_" + base64.urlsafe_b64encode(b"\xff" * 32).decode(),
    ],
)
def test_any_other_secret_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be whsec_ and the base64 of 24 to 64 bytes"):
        parse_secret(text)
