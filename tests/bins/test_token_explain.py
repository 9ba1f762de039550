"""`less-sync token explain`: the check that fails is found and put into words, and the token stays unseen."""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from less_sync.auth import TokenCheck, TokenPolicy, TrustedIssuers, make_did_proof, parse_issuers_file
from less_sync.bins.commands.token_explain_work import STEPS, Line, Rules, find, lines
from less_sync.bins.dev import DEV_ISSUER, DevIssuer
from less_sync.sync.access.key_fetch import key_set_places
from tests.bins.commands import Finished, run_less_sync
from tests.wire.issuer import AUDIENCE, Issuer, closed_port, new_issuer, new_key, served_key_set

PLAIN = "https://accounts.example"
LOGIN = "https://login.example"
NOW = int(time.time())
KEY = new_key()


def rules_for(url: str, **policy: Any) -> Rules:
    text = f"""
    [issuers.login]
    issuer = "{LOGIN}"
    keys = "{url}"
    audiences = ["{AUDIENCE}"]
    identity = "derived"
    """
    ruled = parse_issuers_file(text.encode())
    plain = {PLAIN: url}
    return Rules(
        issuers=TrustedIssuers.of(plain, ruled),
        places=key_set_places(plain, ruled),
        known={},
        policy=TokenPolicy(mailbox_key=bytes(32), audiences=frozenset({AUDIENCE}), **policy),
    )


@asynccontextmanager
async def issuing(**policy: Any) -> AsyncIterator[tuple[Issuer, Rules]]:
    issuer = new_issuer()
    async with served_key_set(issuer) as url:
        yield issuer, rules_for(url, **policy)


def claims(**changes: Any) -> dict[str, Any]:
    return {"iss": LOGIN, "sub": "alice", "client_id": "app", "scope": "sync files"} | changes


async def told(token: str, rules: Rules, *, proof: str = "", fetch: bool = True) -> Sequence[Line]:
    finding = await find(token, proof, rules, fetch=fetch, now_s=NOW)
    return lines(token, proof, finding, rules, now_s=NOW)


def outcomes(found: Sequence[Line]) -> str:
    return " ".join(line.outcome for line in found)


def failing(found: Sequence[Line]) -> tuple[str, str]:
    """Number and detail of the step that fails; those before it are passed, those behind not looked at."""
    place = next(number for number, line in enumerate(found) if line.outcome == "FAILS")
    assert {line.outcome for line in found[:place]} <= {"ok"}
    assert {line.outcome for line in found[place + 1 :]} <= {"-"}
    return found[place].step.number, found[place].detail


def test_each_check_belongs_to_one_step() -> None:
    checks = [check for step in STEPS for check in step.checks]
    assert sorted(checks) == sorted(TokenCheck)


async def test_a_token_that_is_accepted_passes_all_steps() -> None:
    async with issuing() as (issuer, rules):
        token = issuer.token(claims())
        found = await told(token, rules)
        assert outcomes(found) == "ok " * 15 + "-"
        assert found[-1].detail == "none given"
        proof = make_did_proof(KEY, token, NOW)
        assert outcomes(await told(token, rules, proof=proof)) == ("ok " * 16).strip()
        believed = await told(issuer.token(claims(iss=PLAIN)), rules)
        assert (outcomes(believed), believed[-1].detail) == ("ok " * 15 + "-", "none needed")
        unread = await told(issuer.token(claims(iss=PLAIN)), rules, proof="no proof")
        assert (outcomes(unread), unread[-1].detail) == (
            "ok " * 15 + "-",
            "not looked at: the claims are believed",
        )


@pytest.mark.parametrize(
    ("changes", "number", "words"),
    [
        (
            {"iss": "https://evil.example"},
            "5",
            ['iss is "https://evil.example"', f"trusted: {PLAIN}, {LOGIN}"],
        ),
        ({"events": {}}, "5a", ["events"]),
        ({"sub": 7}, "9", ["claim of the wrong type"]),
        ({"exp": NOW - 600}, "10", ["expired", "past 10 min ago"]),
        ({"exp": None}, "10", ["no exp", "it has no exp"]),
        ({"nbf": NOW + 7200}, "10", ["not valid yet", "in 2 h"]),
        ({"aud": ["other"]}, "11", ['aud is ["other"]', f"accepted: {AUDIENCE}"]),
        ({"client_id": ""}, "12", ["without client_id"]),
        ({"sub": "a\0b"}, "12", ["NUL"]),
        ({"scope": "openid"}, "14", ['sync is not in "openid"']),
    ],
)
async def test_the_step_that_fails_says_what_it_found(
    changes: dict[str, Any], number: str, words: list[str]
) -> None:
    async with issuing() as (issuer, rules):
        where, detail = failing(await told(issuer.token(claims(**changes)), rules))
    assert where == number
    assert [word for word in words if word not in detail] == []


async def test_forms_headers_keys_and_signatures_are_told_apart() -> None:
    async with issuing() as (issuer, rules):
        good = issuer.token(claims())
        head, body, signature = good.split(".")
        assert failing(await told("", rules))[0] == "1"
        assert failing(await told("opaque", rules)) == ("2", "not three segments")
        long = "x" * 16_385
        assert failing(await told(long, rules)) == ("2", "too long; 16,385 characters; accepted: 16,384")
        rs256 = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEifQ"  # {"alg":"RS256","kid":"1"}
        number, detail = failing(await told(f"{rs256}.{body}.{signature}", rules))
        assert (number, detail) == (
            "3",
            'algorithm not allowed; alg "RS256", kid "1"; accepted: ES256',
        )
        assert failing(await told(f"{head}.{body}.AAAA", rules))[0] == "6"
        assert failing(await told(issuer.forged(claims()), rules)) == ("8", "bad signature")
        other = "eyJhbGciOiJFUzI1NiIsImtpZCI6Im90aGVyIn0"  # {"alg":"ES256","kid":"other"}
        assert failing(await told(f"{other}.{body}.{signature}", rules)) == (
            "7",
            'unknown kid; the key set has "1"',
        )
        derive = await told(
            issuer.token(claims(iss=PLAIN, personal_space_id="da29e793-0000-4000-8000-000000000000")),
            Rules(rules.issuers, rules.places, {}, TokenPolicy(personal_space_check="derive")),
        )
        assert failing(derive)[0] == "13"
        proof = make_did_proof(ec.generate_private_key(ec.SECP256R1()), "another token", NOW)
        assert failing(await told(good, rules, proof=proof)) == ("15", "did proof for another token")


async def test_nothing_is_decided_without_the_keys_and_nobody_but_a_trusted_issuer_is_asked() -> None:
    async with closed_port() as port:
        rules = rules_for(f"http://127.0.0.1:{port}/jwks.json")
        token = new_issuer().token(claims())
        unasked = await told(token, rules, fetch=False)
        assert outcomes(unasked) == "ok " * 7 + ("- " * 9).strip()
        assert unasked[7].detail == "not asked for"
        found = await find(token, "", rules, fetch=True, now_s=NOW)
        assert (found.undecided, found.failed) == (True, TokenCheck.KEYS_UNAVAILABLE)
        number, detail = failing(await told(token, rules))
        assert number == "7"
        assert detail.startswith("key set not available; ")
        foreign = new_issuer().token(claims(iss=f"http://127.0.0.1:{port}"))
        stranger = await find(foreign, "", rules, fetch=True, now_s=NOW)
        assert (stranger.undecided, stranger.failed) == (False, TokenCheck.ISSUER)


async def test_what_a_stranger_wrote_reaches_no_terminal_as_it_is() -> None:
    async with issuing() as (issuer, rules):
        hostile = issuer.token(claims(aud=["\x1b]0;pwned\x07" + "é" * 500, "x"]))
        _, detail = failing(await told(hostile, rules))
    assert detail.isascii()
    assert detail.isprintable()
    assert len(detail) < 250


async def explained(*words: str, data_dir: Path) -> Finished:
    return await run_less_sync("token", "explain", *words, env={"DATA_DIR": str(data_dir)})


async def test_the_command_explains_tokens_of_dev_mode(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "token"
    token = (await run_less_sync("token", "--user", "alice", "--data-dir", str(data))).out.strip()
    file.write_text(token + "\n")
    good = await explained(str(file), data_dir=data)
    assert (good.status, good.out.splitlines()[-1], good.err) == (0, "accepted", "")
    assert DEV_ISSUER in good.out
    file.write_text(token[:-4])
    bad = await explained(str(file), "--json", data_dir=data)
    assert bad.status == 5
    answer = json.loads(bad.out)
    assert (answer["accepted"], answer["check"]) == (False, "malformed signature")
    assert [check["number"] for check in answer["checks"]] == [step.number for step in STEPS]
    for shown in (good, bad):
        for segment in token.split("."):
            assert segment[:-4] not in shown.out + shown.err


async def test_another_data_directory_has_no_key_and_gets_none(tmp_path: Path) -> None:
    file, empty = tmp_path / "token", tmp_path / "empty"
    file.write_text(DevIssuer(tmp_path / "data").mint("alice", now=datetime.now(UTC)))
    done = await explained(str(file), data_dir=empty)
    assert (done.status, done.out.splitlines()[-1]) == (5, "refused: unknown kid")
    assert not empty.exists()


async def test_an_argument_that_is_no_file_is_not_repeated(tmp_path: Path) -> None:
    for name in ("eyJhbGciOi.eyJzdWIi.c2ln", "x" * 5000):
        done = await explained(name, data_dir=tmp_path)
        assert done.status == 2
        assert name not in done.out + done.err
        assert "a token itself is no argument" in " ".join(done.err.split())
    large = tmp_path / "large"
    large.write_bytes(bytes(65_537))
    assert (await explained(str(large), data_dir=tmp_path)).status == 2


async def test_standard_input_holds_one_of_the_two(tmp_path: Path) -> None:
    done = await explained("-", "--did-proof", "-", data_dir=tmp_path)
    assert (done.status, "FILE reads standard input already" in done.err) == (2, True)
