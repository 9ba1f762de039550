"""Secrets are masked in every spelling and nothing else is; what nobody registered is found by its shape."""

import base64
import html
import json
import re
import secrets
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from less_sync.validation.evidence import Evidence, shown_frame
from less_sync.validation.redact import Redactor, net
from tests.validation.reports import HOSTILE

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImV4cCI6MX0.c2lnbmF0dXJlLXdpdGgtaXRzLWVuZA"
AWKWARD = "p\u00e4ss/w+rd <&>\"' \\ 100%=\u2713"
PEM = (
    "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIB\n"
    "AQQgq7w0cPzVxhZo0JmC\n-----END PRIVATE KEY-----"
)
HEX = "0123456789abcdef" * 4


def spellings(value: str) -> dict[str, str]:
    """As others write it, by the libraries that they use."""
    raw = value.encode()
    found = {
        "itself": value,
        "hex": raw.hex(),
        "upper hex": raw.hex().upper(),
        "percent": quote(value, safe=""),
        "percent of a path": quote(value),
        "lower percent": re.sub("%..", lambda one: one[0].lower(), quote(value, safe="")),
        "form": quote_plus(value),
        "JSON": json.dumps(value),
        "JSON in UTF-8": json.dumps(value, ensure_ascii=False),
        "JSON in JSON": json.dumps(json.dumps(value)),
        "JSON of PHP": json.dumps(value, ensure_ascii=False).replace("/", "\\/"),
        "JSON of Go": json.dumps(value, ensure_ascii=False)
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026"),
        "HTML": html.escape(value),
        "XML": html.escape(value).replace("&#x27;", "&apos;"),
        "text of XML": html.escape(value, quote=False),
        "Python": repr(value),
    }
    for before in ("", "a", "ab"):
        text = f"{before}{value}after".encode()
        found[f"base64 behind {len(before)}"] = base64.b64encode(text).decode()
        found[f"base64url behind {len(before)}"] = base64.urlsafe_b64encode(text).decode()
    return found


@pytest.mark.parametrize(
    "value", [TOKEN, AWKWARD, HEX, "8charact", "a-uuid-like-0123-4567", PEM], ids=lambda one: one[:8]
)
def test_a_secret_is_masked_in_every_spelling(value: str) -> None:
    redactor = Redactor()
    redactor.add("token", value)
    for name, spelled in spellings(value).items():
        for before, after in (("", ""), ("x" * 5, " y"), ("{\n", "\n}")):
            text = f"{before}{spelled}{after}"
            masked = redactor.mask(text)
            assert "[secret:token:" in masked, (name, masked)
            assert redactor.scan(masked.encode()) == [], name
            assert redactor.scan(text.encode())[0] == "[secret:token]", name
            if not name.startswith("base64"):
                assert masked.replace(before, "").replace(after, "").strip("'\"\\").startswith("[secret:"), (
                    name
                )


def test_of_base64_no_more_than_a_part_of_one_character_is_left() -> None:
    value = secrets.token_hex(20)
    redactor = Redactor()
    redactor.add("key", value)
    for before in range(3):
        masked = redactor.mask(base64.b64encode(b"x" * before + value.encode() + b"yz").decode())
        left, _, rest = masked.partition("[secret:key:")
        assert len(left) <= 3
        assert len(rest.partition("]")[2].rstrip("=")) <= 4, "a part of one, and what follows"


def test_equal_secrets_look_equal_and_runs_do_not() -> None:
    one, two = Redactor(), Redactor()
    for redactor in (one, two):
        redactor.add("token", TOKEN)
        redactor.add("other", HEX)
    masked = one.mask(f"{TOKEN} {TOKEN} {HEX}").split()
    assert masked[0] == masked[1] != masked[2]
    assert one.mask(TOKEN) != two.mask(TOKEN)
    assert one.mask_stable(TOKEN) == two.mask_stable(TOKEN) == "[secret:token]"


def test_what_is_no_secret_has_its_kind_as_its_marker() -> None:
    redactor = Redactor()
    redactor.add("did:owner", "did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv")
    redactor.add("mailbox:owner", HEX)
    text = f"{HEX} of did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv"
    assert redactor.mask(text) == "[mailbox:owner] of [did:owner]"


def test_a_key_that_is_bytes_is_masked_too() -> None:
    key = bytes(range(200, 232))
    redactor = Redactor()
    redactor.add("seed", key)
    for text in (
        key.hex(),
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(b"a" + key).decode(),
        shown_frame(b"\x58\x20" + key),
    ):
        assert "[secret:seed:" in redactor.mask(text)


def test_a_short_password_is_masked_in_urls_alone() -> None:
    redactor = Redactor()
    redactor.add("database", "postgresql://sync:geh%2Fm@db.example:5432/sync")
    assert redactor.mask("geheim at postgresql://sync:geh%2Fm@db.example:5432/sync").startswith(
        "geheim at [secret:database:"
    )
    for text in ("cannot reach postgres://sync:geh%2Fm@other/x", "dsn://sync:geh/m@other", "password=geh/m"):
        masked = redactor.mask(text)
        assert "geh" not in masked
        assert "[secret:database:" in masked
    assert redactor.mask("geh/m and sync") == "geh/m and sync"


def test_a_long_password_of_a_url_is_masked_everywhere() -> None:
    redactor = Redactor()
    redactor.add("database", "postgresql://sync:long%20password@db/sync")
    assert "[secret:database:" in redactor.mask("FATAL: long password is wrong")


def test_lines_of_a_key_are_masked_where_a_transcript_breaks_them() -> None:
    redactor = Redactor()
    redactor.add("key", PEM)
    evidence = Evidence()
    evidence.answer(200, [], PEM.encode())
    masked = redactor.mask_transcript(evidence.text)
    assert "MIGHAgEA" not in masked
    assert "AQQgq7w0" not in masked


def test_what_a_transcript_cuts_is_masked_as_far_as_it_is_shown() -> None:
    redactor = Redactor()
    long = TOKEN + "A" * 600
    redactor.add("token", long)
    redactor.add("blob", bytes(range(64)))
    masked = redactor.mask(shown_frame(b"\xa1\x65token\x79" + len(long).to_bytes(2, "big") + long.encode()))
    assert "eyJhbGci" not in masked
    assert "[secret:token:" in masked
    assert "000102" not in redactor.mask(shown_frame(b"\x58\x40" + bytes(range(64))))


def test_headers_that_carry_secrets_are_masked_whole_in_transcripts() -> None:
    redactor = Redactor()
    redactor.add("token", TOKEN)
    evidence = Evidence()
    headers = [("Authorization", "Basic dXNlcjpwdw=="), ("Cookie", "a=b"), ("Accept", "*/*")]
    evidence.request("GET", "/x", headers, None)
    masked = redactor.mask_transcript(f"{evidence.text}> authorization: Bearer {TOKEN}\n")
    assert "dXNlcjpwdw" not in masked
    assert "a=b" not in masked
    assert "> Accept: */*" in masked
    assert TOKEN not in masked


def test_identifiers_of_people_are_masked_in_transcripts_and_digests_stay() -> None:
    redactor = Redactor()
    text = f"user did:key:zDnaerx9CtbPJ1q3 has mailbox {HEX} and (5 bytes, sha256 {HEX}) at {HEX}0"
    masked = redactor.mask_transcript(text)
    assert "zDnaerx9" not in masked
    assert masked.count(HEX) == 2
    assert f"sha256 {HEX})" in masked
    assert f"at {HEX}0" in masked
    assert redactor.mask_transcript(masked) == masked


@given(st.text(max_size=60), st.text(min_size=8, max_size=30), st.text(max_size=60))
@settings(max_examples=150)
def test_nothing_but_the_secret_goes(before: str, secret: str, after: str) -> None:
    redactor = Redactor(key=bytes(32))
    assert redactor.mask(before) == before
    redactor.add("s", secret)
    masked = redactor.mask(f"{before}{secret}{after}")
    assert secret not in masked
    assert "[secret:s:" in masked


def test_secrets_that_overlap_go_whole() -> None:
    redactor = Redactor()
    redactor.add("one", "abcdefghijkl")
    redactor.add("two", "ghijklmnopqrstuv")
    redactor.add("three", "abcdefghijklmnopqr")
    masked = redactor.mask("<abcdefghijklmnopqrstuv>")
    assert masked.startswith("<[secret:three:")
    assert masked.endswith("]>")


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ("token", f"error: {TOKEN} is wrong"),
        ("token", f'{{"a":"\\n{TOKEN}"}}'),
        ("token", f"xxeyJunk {TOKEN}"),
        ("private-key", PEM),
        ("private-key", json.dumps(PEM)),
        ("private-key", "< -----BEGIN EC PRIVATE KEY-----\n< MHcCAQEEIBkgabcdefgh"),
        ("password", "dial postgres://sync:hunter2@db.example/sync"),
        ("key", f"IDENTITY_HASH_KEY={HEX}"),
        ("key", f'"ADMIN_TOKEN": "{HEX}"'),
        ("key", f"DB_PASSWORD: {HEX.upper()}"),
    ],
)
def test_the_net_finds_secrets_that_nobody_registered(shape: str, text: str) -> None:
    assert net(text.encode()) == [shape]
    assert Redactor().scan(text.encode()) == [f"net:{shape}"]
    assert Redactor().mask(text) == text, "what nobody knows is not masked: the report cannot be trusted"
    assert Redactor().mask_shapes(text) == f"[left-out:{shape}]"


@pytest.mark.parametrize(
    "text",
    [
        *(HOSTILE, "eyJhbGciOiJFUzI1NiJ9 and eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9", "a.b.c", "1.2.3"),
        *(f"sha256 {HEX}", f'"keyid": "{HEX}"', f"digest={HEX}", f"KEY={HEX}0", "KEY=abc"),
        *(
            "http://example:80/x@y",
            "postgres://user@host",
            "x://a:$DB_PASSWORD@h",
            "x://a:[secret:db:0123abcd]@h",
        ),
        *("-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYI", "-----BEGIN PRIVATE KEY-----", "x://a:***@h"),
    ],
)
def test_the_net_leaves_what_is_no_secret(text: str) -> None:
    assert net(text.encode()) == []


def test_hostile_bytes_do_not_make_it_slow() -> None:
    redactor = Redactor()
    redactor.add("token", TOKEN)
    many = 400_000
    began_s = time.process_time()
    for part in (
        "eyJ",
        "://a:",
        "-----BEGIN ",
        "A",
        "=   ",
        "authorization: ",
        "did:key:z",
        "eyJaaaaa.",
        TOKEN[:-1],
    ):
        text = (part * many)[:many]
        redactor.mask_transcript(text)
        redactor.scan(text.encode())
    assert time.process_time() - began_s < 20, (
        "work that grows with the square of the size would take minutes"
    )


def test_looking_for_hundreds_of_secrets_costs_as_much_as_looking_for_one() -> None:
    text = f"> GET /x\n< {secrets.token_hex(200)}\n" * 3000
    spent_s = []
    for count in (1, 500):
        redactor = Redactor()
        for _ in range(count):
            redactor.add("token", secrets.token_urlsafe(60))
        began_s = time.process_time()
        redactor.scan(text.encode())
        spent_s.append(time.process_time() - began_s)
    assert spent_s[1] < 20 * spent_s[0] + 0.5
