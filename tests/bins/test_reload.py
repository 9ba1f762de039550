"""SIGHUP and the file of variables: what takes effect at once, what waits, and what a bad file changes."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import cbor2
import pytest
from structlog.testing import capture_logs

from less_sync.auth import PERSONAL_SPACE_ROOTS, personal_space_id
from less_sync.bins.reload import Reloading
from less_sync.bins.settings.config import Settings
from less_sync.bins.settings.given import Given
from less_sync.sync.protocol.frames import encode_request
from tests.auth.ruled import RuledIssuer
from tests.bins.environments import NEEDED
from tests.bins.test_server import call, said, until
from tests.live import Live, claims, live_server
from tests.sync.jwks_server import JwksServer
from tests.sync.jwks_server import serving as answering
from tests.sync.raw_http import fetch
from tests.wire.client import Closed, Message, Socket, open_socket
from tests.wire.issuer import AUDIENCE, Issuer, new_issuer, served_key_set
from tests.wire.process import ServerProcess

TIMEOUT_S = 20.0
RSA = RuledIssuer("RS256")
NOWHERE = "http://127.0.0.1:1/keys"
ONE, OTHER = "https://one.example.com", "https://other.example.com"
RULED = f'[issuers.ruled]\nissuer = "{ONE}/ruled"\nkeys = "{NOWHERE}"\n'


class Configured:
    """A file of variables, and the server that reads it in this process."""

    def __init__(self, path: Path, live: Live) -> None:
        self.path = path
        self.path.write_text("")
        environment = NEEDED | {"TRUSTED_ISSUERS": f"{ONE}={NOWHERE}", "ENV_FILE": str(path)}
        given = Given(environment, {"PUSH_LANES": "2"}).with_file()
        self.reloading = Reloading(Settings.from_given(given), live.services)

    async def reload(self, text: str) -> list[dict[str, object]]:
        """What is logged when the file says this."""
        self.path.write_text(text)
        with capture_logs() as lines:
            await self.reloading.look_again()
        return [dict(line) for line in lines if line["event"] != "key set not fetched"]


@pytest.fixture
async def live(database_url: str) -> AsyncIterator[Live]:
    async with live_server(database_url) as running:
        yield running


@pytest.fixture
def configured(tmp_path: Path, live: Live) -> Configured:
    return Configured(tmp_path / "env", live)


async def test_what_needs_a_restart_is_named_every_time_and_an_option_is_never_overruled(
    configured: Configured,
) -> None:
    text = "LIMIT_FRAME_BYTES=9\nFEDERATION_FST_SECRET=hunter2\nPUSH_LANES=3\n"
    for _ in range(2):
        (line,) = await configured.reload(text)
        assert line["log_level"] == "warning"
        assert line["settings"] == "FEDERATION_FST_SECRET,LIMIT_FRAME_BYTES"
    assert [line["event"] for line in await configured.reload("")] == ["settings are unchanged"]


async def test_all_that_is_wrong_is_told_and_nothing_changes(configured: Configured, live: Live) -> None:
    lines = await configured.reload("AUDIENCES=elsewhere\nPUSH_LANE=1\nLIMIT_FRAME_BYTES=x\nLISTEN_ADDR=\n")
    assert [(line["log_level"], line["problem"]) for line in lines] == [
        ("error", 'invalid LISTEN_ADDR "": invalid socket address syntax'),
        ("error", 'invalid LIMIT_FRAME_BYTES value "x": invalid digit found in string'),
    ]
    lines = await configured.reload("AUDIENCES=elsewhere\nhunter2\nexport A=1\n")
    assert [str(line["problem"]).partition('"')[2].partition('" ')[2] for line in lines] == [
        "line 2: expected NAME=VALUE",
        "line 3: expected NAME=VALUE, without `export`",
    ]
    assert live.services.authenticator.identify_cached(live.token("alice"))
    configured.path.unlink()
    with capture_logs() as told:
        await configured.reloading.look_again()
    assert "No such file or directory" in told[0]["problem"]


async def test_an_audience_and_a_slip_take_effect_at_once(configured: Configured, live: Live) -> None:
    token = live.token("alice")
    assert live.services.authenticator.identify_cached(token)
    lines = await configured.reload("AUDIENCES=elsewhere\nPUSH_LANE=1\n")
    assert [line["event"] for line in lines] == [
        "unknown variable PUSH_LANE is ignored: PUSH_LANES is the nearest setting",
        "settings have changed",
    ]
    assert (
        await fetch(live.port, "GET", "/x", f"Authorization: Bearer {live.token('bob')}\r\n")
    ).status == 401
    (line,) = await configured.reload(f"AUDIENCES={AUDIENCE}\n")
    assert (line["event"], line["settings"]) == ("settings have changed", "AUDIENCES")


async def test_without_a_file_nothing_is_read(live: Live) -> None:
    reloading = Reloading(Settings.from_env(NEEDED), live.services)
    with capture_logs() as lines:
        await reloading.look_again()
    assert [line["event"] for line in lines] == [
        "settings are not read again: there is no ENV_FILE and no ISSUERS_FILE"
    ]


async def test_the_file_of_issuers_is_read_again_without_any_other(tmp_path: Path, live: Live) -> None:
    path = tmp_path / "issuers.toml"
    path.write_text(RULED)
    reloading = Reloading(Settings.from_env(NEEDED | {"ISSUERS_FILE": str(path)}), live.services)

    async def look(text: str) -> list[tuple[object, object]]:
        path.write_text(text)
        with capture_logs() as lines:
            await reloading.look_again()
        # The fetches that a look begins tell of themselves, whenever they end.
        told = [line for line in lines if str(line["event"]).startswith("settings")]
        return [(line["event"], line.get("settings", line.get("problem"))) for line in told]

    assert await look(RULED) == [("settings are unchanged", None)]
    changed = ("settings have changed", "ISSUERS_FILE")
    assert changed in await look(RULED.replace("/ruled", "/changed"))
    assert f"{ONE}/changed" in live.services.authenticator.keys.issuers
    assert f"{ONE}/ruled" not in live.services.authenticator.keys.issuers
    assert await look(RULED + "audience = 1\n") == [
        (
            "settings are not taken over",
            f'ISSUERS_FILE "{path}": [issuers.ruled] audience is not known, did you mean audiences?',
        )
    ]
    assert f"{ONE}/changed" in live.services.authenticator.keys.issuers
    assert changed in await look(RULED)


async def test_identities_are_not_derived_without_the_key_that_the_server_was_started_with(
    tmp_path: Path, live: Live
) -> None:
    issuers, path = tmp_path / "issuers.toml", tmp_path / "env"
    issuers.write_text(RULED)
    path.write_text("")
    given = Given(NEEDED | {"ENV_FILE": str(path), "ISSUERS_FILE": str(issuers)}).with_file()
    reloading = Reloading(Settings.from_given(given), live.services)
    issuers.write_text(RULED + 'identity = "derived"\naudiences = ["less-sync"]\n')
    path.write_text(f"IDENTITY_HASH_KEY={'ab' * 32}\n")
    with capture_logs() as lines:
        await reloading.look_again()
    assert [line["problem"] for line in lines] == [
        "derived identities need IDENTITY_HASH_KEY, which takes effect with a restart"
    ]


async def test_dev_mode_neither_begins_nor_ends_while_the_server_runs(tmp_path: Path, live: Live) -> None:
    path = tmp_path / "env"
    for before, after in (("", f"TRUSTED_ISSUERS={ONE}"), (f"TRUSTED_ISSUERS={ONE}", "")):
        path.write_text(before)
        given = Given({"ENV_FILE": str(path)}, embedded=True).with_file()
        reloading = Reloading(Settings.from_given(given), live.services)
        path.write_text(after)
        with capture_logs() as lines:
            await reloading.look_again()
        assert [line["problem"] for line in lines] == ["dev mode begins and ends with a restart"]
    assert live.services.authenticator.identify_cached(live.token("alice"))


async def test_looks_that_are_asked_for_during_a_look_are_not_lost(configured: Configured) -> None:
    asked, keys = asyncio.Event(), asyncio.Event()
    os.unlink(configured.path)
    with capture_logs() as lines:
        running = asyncio.create_task(configured.reloading.run(asked, keys))
        asked.set()
        await asyncio.wait_for(keys.wait(), TIMEOUT_S)
        asked.set()
        async with asyncio.timeout(TIMEOUT_S):
            while len(lines) < 2:  # noqa: ASYNC110  # a thread's doing
                await asyncio.sleep(0.005)
        running.cancel()
        await asyncio.wait({running})
    assert not asked.is_set()


@asynccontextmanager
async def _rsa_keys() -> AsyncIterator[str]:
    async with JwksServer(answering(RSA.jwks())) as server:
        yield server.url


@asynccontextmanager
async def serving(tmp_path: Path) -> AsyncIterator[tuple[ServerProcess, Issuer, dict[str, str]]]:
    """A server with a file of variables that trusts ONE, and where the key sets of ONE and OTHER are."""
    issuer = new_issuer()
    async with AsyncExitStack() as stack:
        urls = {name: await stack.enter_async_context(served_key_set(issuer)) for name in (ONE, OTHER)}
        (tmp_path / "env").write_text(f"TRUSTED_ISSUERS='{ONE}={urls[ONE]}'\n")
        (tmp_path / "issuers.toml").write_text(
            f'[issuers.ruled]\nissuer = "{RSA.url}"\nalgorithms = ["RS256"]\nidentity = "derived"\n'
            f'audiences = ["less-sync"]\nkeys = "{await stack.enter_async_context(_rsa_keys())}"\n'
        )
        environment = {"DATA_DIR": str(tmp_path / "data"), "ENV_FILE": str(tmp_path / "env")}
        environment |= {"ISSUERS_FILE": str(tmp_path / "issuers.toml"), "IDENTITY_HASH_KEY": "ab" * 32}
        running = await stack.enter_async_context(ServerProcess(environment))
        yield running, issuer, urls


async def signed_in(port: int, issuer: Issuer, name: str) -> Socket:
    return await signed_in_with(port, issuer.token(claims("alice") | {"iss": name}))


async def signed_in_with(port: int, token: str) -> Socket:
    socket = await open_socket("127.0.0.1", port)
    socket.send(cbor2.dumps({"type": 2, "method": "auth", "params": {"token": token}}))
    return socket


async def test_a_server_takes_issuers_and_log_level_over_while_sessions_go_on(tmp_path: Path) -> None:
    async with serving(tmp_path) as (running, issuer, urls):
        client = await signed_in(running.port, issuer, ONE)
        space = {"id": claims("alice")["personal_space_id"], "since": 0}
        await call(client, "subscribe", {"spaces": [space]})
        assert not said(running, "DEBUG")
        # An issuer of the other file is trusted too, and its people have a space that was derived for them.
        member = await signed_in_with(running.port, RSA.mint(exp=int(time.time()) + 900))
        own = personal_space_id(PERSONAL_SPACE_ROOTS["betterbase"], RSA.url, "user-1", "client-1")
        await call(member, "subscribe", {"spaces": [{"id": str(own), "since": 0}]})
        (tmp_path / "issuers.toml").write_text(RULED)
        (tmp_path / "env").write_text(f"TRUSTED_ISSUERS='{OTHER}={urls[OTHER]}'\nLOG_LEVEL=debug\n")
        running.signal(signal.SIGHUP)
        await until(
            lambda: said(running, "settings have changed settings=TRUSTED_ISSUERS,LOG_LEVEL,ISSUERS_FILE")
        )
        await until(lambda: said(running, f"DEBUG key set fetched issuer={OTHER}"))
        # Who has signed in goes on, each request has a line now, and the token of the old issuer is refused.
        await call(client, "subscribe", {"spaces": [space]})
        await until(lambda: said(running, "DEBUG request method=subscribe"))
        former = issuer.token(claims("alice") | {"iss": ONE})
        client.send(encode_request("2", "token.refresh", {"token": former}))
        event = await client.receive(TIMEOUT_S)
        assert isinstance(event, Message)
        assert cbor2.loads(event.data)["result"] == {"ok": False, "error": "untrusted auth issuer"}
        refused = await signed_in(running.port, issuer, ONE)
        assert await refused.receive(TIMEOUT_S) == Closed(4000, "untrusted auth issuer")
        former_member = await signed_in_with(running.port, RSA.mint(exp=int(time.time()) + 900))
        assert await former_member.receive(TIMEOUT_S) == Closed(4000, "invalid auth token")
        await call(await signed_in(running.port, issuer, OTHER), "subscribe", {"spaces": []})
        (tmp_path / "env").unlink()
        running.signal(signal.SIGHUP)
        await until(lambda: said(running, "ERROR settings are not taken over"))
        await call(await signed_in(running.port, issuer, OTHER), "subscribe", {"spaces": []})
        running.signal(signal.SIGTERM)
        assert await running.wait(TIMEOUT_S) == 0
