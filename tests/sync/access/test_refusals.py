"""What a refused token leaves in the log, and how little a flood of them does."""

from collections.abc import Iterator

import pytest
import structlog
from structlog.testing import capture_logs
from structlog.typing import EventDict

from less_sync.auth import AuthError, TokenCheck, TokenPolicy
from less_sync.sync.access.key_fetch import KeyFetcher
from less_sync.sync.access.refusals import LINE_EVERY_S, LINES_AT_ONCE, RefusedTokens
from less_sync.sync.access.sign_in import Authenticator
from tests.auth.minting import NOW, Issuer
from tests.live import live_server
from tests.sync.jwks_server import Clock
from tests.wire.client import Closed

ISSUER = Issuer()


@pytest.fixture
def lines() -> Iterator[list[EventDict]]:
    structlog.reset_defaults()
    with capture_logs() as captured:
        yield captured


def refusal(check: TokenCheck, suppressed: int = 0) -> EventDict:
    return {"event": "token refused", "log_level": "info", "check": check.value, "suppressed": suppressed}


async def test_a_refused_token_is_one_line_with_its_check_and_nothing_of_it(lines: list[EventDict]) -> None:
    keys = KeyFetcher({}, injected={ISSUER.url: ISSUER.keys})
    policy = TokenPolicy(audiences=frozenset(["somewhere"]))
    authenticator = Authenticator(keys, policy=policy, now=Clock(NOW))
    for token in (ISSUER.mint(aud="elsewhere"), ISSUER.mint(header=ISSUER.header(kid="9")), "x.y.z"):
        with pytest.raises(AuthError):
            await authenticator.identify(token)
    with pytest.raises(AuthError):
        authenticator.identify_cached(Issuer().mint())
    checks = (TokenCheck.AUDIENCE, TokenCheck.KEY, TokenCheck.HEADER, TokenCheck.SIGNATURE)
    assert lines == [refusal(check) for check in checks]


def test_a_flood_of_one_kind_is_counted_and_hides_no_other(lines: list[EventDict]) -> None:
    clock = Clock()
    refusals = RefusedTokens(clock=clock)
    for _ in range(1000):
        refusals.note(TokenCheck.SEGMENTS)
    refusals.note(TokenCheck.AUDIENCE)
    flood = [refusal(TokenCheck.SEGMENTS)] * LINES_AT_ONCE
    assert lines == [*flood, refusal(TokenCheck.AUDIENCE)]
    clock.now += LINE_EVERY_S
    for _ in range(3):
        refusals.note(TokenCheck.SEGMENTS)
    assert lines[LINES_AT_ONCE + 1 :] == [refusal(TokenCheck.SEGMENTS, suppressed=1000 - LINES_AT_ONCE)]


async def test_a_token_without_the_scope_is_a_line_too(database_url: str, lines: list[EventDict]) -> None:
    async with live_server(database_url) as live:
        client = await live.connect(scope="files")
        assert await client.closed() == Closed(4000, "sync scope required")
        other = await live.connect()
        result = await other.call("token.refresh", {"token": live.token("alice", scope="files")})
        assert result == {"ok": False, "error": "sync scope required"}
    assert [line for line in lines if line["event"] == "token refused"] == [refusal(TokenCheck.SCOPE)] * 2
