"""`less-sync fleet webhook`, at a plane that is served and to a receiver that is the command's own."""

import json
import re
from collections.abc import Mapping
from http.server import HTTPServer
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest

from less_sync.bins.commands.fleet_listen import HOST, Receiver, handler
from less_sync.fleet.settings import WebhookSettings
from less_sync.fleet.webhooks.signature import parse_secret, secret_text, signed_headers
from less_sync.fleet.workers.delivery import Deliveries
from tests.fleet.commands import good, listed, run
from tests.fleet.receivers import LOOPBACK, answering, receiver
from tests.fleet.rig import Fleet
from tests.fleet.test_webhook_listen import SECRET, listening

TEXT: Final = secret_text(SECRET)
URL: Final = "http://127.0.0.1:9009/hook"


@pytest.fixture(autouse=True)
def loopback(fleet: Fleet) -> None:
    """Receivers of these tests are on this machine, and speak plainly."""
    fleet.use(webhooks=WebhookSettings(allow_http=True, allow_networks=LOOPBACK, timeout_s=5))


async def delivered(fleet: Fleet) -> None:
    """Have what is due sent."""
    worker = Deliveries(fleet.plane)
    await worker.look(fleet.plane)
    await worker.finish()


async def test_a_webhook_is_added_tried_and_received_and_verified(fleet: Fleet) -> None:
    told: list[Mapping[str, Any]] = []
    async with listening(told) as url:
        made = await run(
            fleet, "webhook", "add", url, "--description", "to try", LESS_SYNC_WEBHOOK_SECRET=TEXT
        )
        assert (made.exit_code, TEXT in made.stdout) == (0, True)
        which = re.findall(r"id: +(\S+)", made.stdout)[0]
        tried = await run(fleet, "webhook", "test", url)
        delivery = tried.stdout.split()[-1]
        assert f"webhook deliveries {which}" in tried.stderr
        await delivered(fleet)
        (row,) = await listed(fleet, "webhook", "deliveries", which)
        assert (row["id"], row["status"], row["last_status"]) == (delivery, "delivered", 204)
        assert await good(fleet, "webhook", "redeliver", delivery) == f"sent again: {delivery}\n"
        await delivered(fleet)
    assert [(event["type"], event["again"]) for event in told] == [
        ("webhook.test", False),
        ("webhook.test", True),
    ]
    assert told[0]["id"] == told[1]["id"] == row["event_id"]
    assert "management-key" in told[0]["data"]["message"]


async def test_webhooks_are_listed_and_removed_by_url_or_id(fleet: Fleet) -> None:
    assert (await good(fleet, "webhook", "list")).startswith("no webhooks: `less-sync fleet webhook add URL`")
    assert await good(fleet, "webhook", "deliveries") == "nothing was sent yet\n"
    assert await good(fleet, "webhook", "deliveries", "--status", "dead") == "no delivery that fits\n"
    for url, types in ((URL, ("agent.*", "alert.raised")), (URL + "?2", ()), (URL, ())):
        (row,) = await listed(fleet, "webhook", "add", url, *(f"--event={one}" for one in types))
        assert row["secret"].startswith("whsec_")
    table = [line.split() for line in (await good(fleet, "webhook", "list")).splitlines()]
    assert table[1][:4] == [URL, "on", "agent.*", "alert.raised"]
    assert table[2][:3] == [URL + "?2", "on", "*"]
    two = await run(fleet, "webhook", "remove", URL, "--yes")
    assert (two.exit_code, f"2 webhooks go to {URL}" in two.stderr) == (1, True)
    unasked = await run(fleet, "webhook", "remove", URL + "?2")
    assert (unasked.exit_code, "--yes" in unasked.stderr) == (2, True)
    await good(fleet, "webhook", "remove", URL + "?2", "--yes")
    await good(fleet, "webhook", "remove", table[1][-1], "--yes")
    assert [row["id"] for row in await listed(fleet, "webhook", "list")] == [table[3][-1]]
    await fleet.execute("UPDATE webhooks SET enabled = false, disabled_reason = 'endpoint answered 410'")
    assert "off: endpoint answered 410" in await good(fleet, "webhook", "list")


async def test_one_that_is_off_gets_what_waited_when_it_is_on_again(fleet: Fleet) -> None:
    async with receiver() as there:
        await good(fleet, "webhook", "add", there.url)
        await fleet.execute("UPDATE webhooks SET first_failure_at = now()")
        assert await good(fleet, "webhook", "disable", there.url) == f"disabled {there.url}\n"
        await good(fleet, "webhook", "test", there.url)
        await delivered(fleet)
        assert "off: by hand" in await good(fleet, "webhook", "list")
        assert there.received == []
        (row,) = await listed(fleet, "webhook", "list")
        assert await listed(fleet, "webhook", "enable", row["id"]) == [
            {"message": "webhook updated", "id": row["id"]}
        ]
        await delivered(fleet)
        assert len(there.received) == 1
    (row,) = await listed(fleet, "webhook", "list")
    assert (row["enabled"], row["failing_since"]) == (True, None)


@pytest.mark.parametrize(
    ("overlap", "signatures", "left_s"), [((), 2, 86_400), (("90m",), 2, 5400), (("0",), 1, None)]
)
async def test_another_secret_is_told_once_and_the_old_one_signs_as_long_as_asked(
    fleet: Fleet, overlap: tuple[str, ...], signatures: int, left_s: int | None
) -> None:
    async with receiver() as there:
        await good(fleet, "webhook", "add", there.url, LESS_SYNC_WEBHOOK_SECRET=TEXT)
        made = await run(fleet, "webhook", "rotate", there.url, *(f"--overlap={one}" for one in overlap))
        assert made.exit_code == 0
        new = parse_secret(made.stdout.removeprefix("secret:  ").strip())
        assert ("signs no more" in made.stderr) == (left_s is None)
        await good(fleet, "webhook", "test", there.url)
        await delivered(fleet)
        (request,) = there.received
    secrets = [new, SECRET][:signatures]
    which, at = request.headers["webhook-id"], int(request.headers["webhook-timestamp"])
    expected = dict(signed_headers(which, at, request.body, secrets))["webhook-signature"]
    assert sorted(request.headers["webhook-signature"].split()) == sorted(expected.split())
    left = "SELECT extract(epoch FROM previous_secret_until - updated_at)::int FROM webhooks"
    assert await fleet.value(left) == left_s


async def test_one_delivery_is_shown_with_what_was_sent_each_attempt_and_what_came_back(fleet: Fleet) -> None:
    async with receiver(answering(500, body=b"no \x1b[31m room")) as there:
        await good(fleet, "webhook", "add", there.url)
        delivery = (await good(fleet, "webhook", "test", there.url)).split()[-1]
        await delivered(fleet)
        waits = await good(fleet, "webhook", "delivery", delivery)
        there.behaviour = answering(204)
        await good(fleet, "webhook", "redeliver", delivery)
        await delivered(fleet)
        shown = await good(fleet, "webhook", "delivery", delivery)
    lines = [line.split(maxsplit=1) for line in waits.splitlines()]
    names = ["id", "webhook", "event", "status", "created", "next", "attempt", "payload", "response"]
    assert [name for name, _ in lines] == names
    told = dict(lines)
    assert (told["id"], told["status"]) == (delivery, "pending")
    assert re.fullmatch(r"1  \S+ \S+ UTC  .*500.*, [\d,]+ ms", told["attempt"])
    assert json.loads(told["payload"]) == json.loads(there.received[0].body)
    assert told["response"] == r"no \x1b[31m room"
    lines = [line.split(maxsplit=1) for line in shown.splitlines()]
    assert [name for name, _ in lines] == [*names[:5], "ended", "attempt", "attempt", *names[7:]]
    assert dict(lines)["status"] == "delivered"
    (row,) = await listed(fleet, "webhook", "delivery", delivery)
    assert [attempt["status"] for attempt in row["history"]] == [500, 204]


async def test_deliveries_that_wait_or_failed_say_why(fleet: Fleet) -> None:
    await good(fleet, "webhook", "add", URL)
    await good(fleet, "webhook", "test", URL)
    await delivered(fleet)
    head, row = (await good(fleet, "webhook", "deliveries", "--event", "webhook.test")).splitlines()
    assert head.split() == ["EVENT", "STATUS", "ATTEMPTS", "LAST", "NEXT", "CREATED", "ID"]
    assert row.split()[:3] == ["webhook.test", "pending", "1"]
    assert await listed(fleet, "webhook", "deliveries", URL, "--status", "delivered") == []


WRONG: Final = (
    (("add", "http://10.0.0.7/hook"), 1, "url: address is not allowed"),
    (("add", "hook"), 1, "url: must be an absolute URL"),
    (("add", URL, "--event", "agent.gone"), 1, 'unknown event type "agent.gone"'),
    (("add", URL, "--secret-file", "/nowhere/secret"), 2, "cannot read the secret file"),
    (("add",), 2, "URL"),
    (("remove", str(uuid4()), "--yes"), 1, "webhook not found"),
    (("test", URL), 1, f"there is no webhook {URL}"),
    (("enable", str(uuid4())), 1, "webhook not found"),
    (("disable", URL), 1, f"there is no webhook {URL}"),
    (("rotate", URL, "--overlap", "soon"), 2, "90m"),
    (("delivery", "../x"), 2, "'../x' is not the id of a delivery"),
    (("delivery", str(uuid4())), 1, "delivery not found"),
    (("deliveries", "--status", "lost"), 2, "lost"),
    (("deliveries", "--event", "x"), 1, "event_type: must be one of"),
    (("redeliver", "first"), 2, "'first' is not the id of a delivery"),
    (("redeliver", str(uuid4())), 1, "delivery not found"),
    (("listen", "--port", "70000"), 2, "--port"),
    (("listen", "--count", "0"), 2, "--count"),
)


async def test_what_is_wrong_is_told_and_has_its_exit_code(fleet: Fleet, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("whsec_short")
    wrong = (*WRONG, (("listen", "--secret-file", str(secret)), 2, "the secret must be whsec_"))
    for arguments, code, text in wrong:
        result = await run(fleet, "webhook", *arguments)
        assert (result.exit_code, result.stdout) == (code, ""), (arguments, result.output)
        assert text in " ".join(result.stderr.split()), arguments
    secret.write_text(TEXT)
    with HTTPServer((HOST, 0), handler(Receiver(SECRET), print)) as taken:
        port = ("--port", str(taken.server_port), "--secret-file", str(secret))
        result = await run(fleet, "webhook", "listen", *port)
    assert (result.exit_code, "Address already in use" in result.stderr) == (1, True)
