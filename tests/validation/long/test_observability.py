"""The lane `observability`: real servers pass; stubs and scripts show faults of metrics, logs and alerts."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from less_sync.validation.attempt import Row
from less_sync.validation.context import Context, Run
from less_sync.validation.generated import Stream
from less_sync.validation.metrics import FAMILIES
from less_sync.validation.outcome import PASSED, Outcome, Status
from less_sync.validation.procedure import Procedure, Same, Value
from tests.integration.waiting import until
from tests.migrations.support import connected
from tests.validation.counters import LOWEST, Counted
from tests.validation.neighbours import SERVICE, nothing_done, red, under
from tests.validation.proxy import FaultProxy, Reply
from tests.validation.rig import Rig, check_of
from tests.validation.stubs import script as stub

FAULTED: Final = frozenset(
    {"scrape", "errors-window", "logs", "logs-private", "watchdog", "restarts-window", "alerts"}
)
"""Procedures that are seen to fail here."""
NO_DATA: Final = Outcome(Status.BLOCKED, "no-data")


def failed(reason: str) -> Outcome:
    return Outcome(Status.FAILED, reason)


@pytest.fixture
async def counted() -> AsyncIterator[Counted]:
    """Metrics that a test sets."""
    stub = Counted()
    async with await asyncio.start_server(stub.serve, "127.0.0.1", 0) as server:
        stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/metrics"
        yield stub


def counting(rig: Rig, counted: Counted, target: str = "staging", **of_run: Any) -> Run:
    """A run whose target has these metrics."""
    run = rig.run(**of_run)
    run.targets[target].metrics_url = counted.url
    return run


async def meanwhile(
    rig: Rig,
    name: str,
    run: Run,
    work: Callable[[], Awaitable[object]],
    *,
    seen: Counted | None = None,
    **arguments: Any,
) -> Row:
    """A window, and what goes on between its beginning and its end.

    Args:
        seen: the stub, which knows when it was looked at first.
    """
    asked = 0 if seen is None else len(seen.asked)

    async def begun() -> bool:
        return seen is None or len(seen.asked) > asked

    task = asyncio.create_task(rig.row(name, run=run, **arguments))
    await until(begun)
    await asyncio.sleep(0.1)
    assert not task.done()
    await work()
    run.others_done.set()
    return await task


async def nothing() -> None:
    """Nobody does anything."""


METRICS: Final = ("scrape", "watchdog", "errors-window", "restarts-window")
LOGS: Final = ("logs", "logs-private")


async def lane(
    rig: Rig,
    counted: Counted,
    folder: Path,
    work: Callable[[], Awaitable[object]] | None = None,
    *,
    log: str = "",
    alert: str = "",
    **of_run: Any,
) -> dict[str, Outcome]:
    """What became of those rows of the lane that did not pass, in one run, with the stub's metrics.

    Args:
        work: is done between the first looks and the last ones; without it clients make 300 requests.
        log: the command that prints the log; without it one that prints no event.
        alert: the command that raises an alert; without it one that is received.
    """
    inputs = {
        "LOG_PROBE_COMMAND": log or stub(folder, END.strip(), name="quiet"),
        "ALERT_PROBE_COMMAND": alert or stub(folder, '{"received": true}', name="received"),
    }
    run = counting(rig, counted, inputs=inputs, **of_run)
    limits: dict[str, dict[str, Value]] = {"watchdog": {"first_proof_max_ms": 300}}
    asked, names = len(counted.asked), (*METRICS, *LOGS, "alerts")
    tasks = [asyncio.create_task(rig.row(one, run=run, parameters=limits.get(one, {}))) for one in names]

    async def begun() -> bool:
        return len(counted.asked) >= asked + len(METRICS)

    await until(begun)
    # The windows have their first looks, and whoever looks once has looked.
    await asyncio.wait(tasks, timeout=0.15)
    if work is None:
        counted.count("requests", 'route="/x",code="200"', 300)
    else:
        await work()
    run.others_done.set()
    rows = [await task for task in tasks]
    return {row.check.procedure.name: row.outcome for row in rows if row.outcome != PASSED}


async def talk(rig: Rig, run: Run, target: str = "staging") -> None:
    """A few requests of clients, two of them turned away."""

    async def talks(context: Context) -> None:
        owner = context.run.people.person(target, "owner")
        async with context.converse(owner) as conversation:
            await conversation.barrier()
        async with context.converse(token="a.b.c") as conversation:
            await conversation.close_seen()
        await context.request("GET", "/nothing", person=owner)
        context.measured.same("talked", True, True, "talked")

    procedure = Procedure("talks", "observability", talks, "talks", (Same("talked"),))
    assert await rig.outcome(procedure, run=run, target=target) == PASSED


async def test_real_servers_pass(rig: Rig, tmp_path: Path) -> None:
    for target in ("staging", "production"):
        assert await rig.outcome("scrape", target=target) == PASSED
        assert await rig.outcome("watchdog", target=target) == PASSED
        run = rig.run()
        run.targets[target].log_path = tmp_path / target
        # Faults of other tests have left their errors in the log of the server that all share.
        before = rig.server(target).process.output[-1]

        async def work(run: Run = run, target: str = target, before: str = before) -> None:
            await talk(rig, run, target)
            lines = rig.server(target).process.output
            since = lines.index(before) + 1 if before in lines else 0
            (tmp_path / target).write_text("\n".join(lines[since:]))

        seen = await meanwhile(rig, "errors-window", run, work, target=target)
        assert seen.outcome == PASSED, seen.lines
        numbers = {name: one.value for name, one in seen.measured.numbers.items()}
        assert numbers["own_handshakes_refused"] == 1
        assert numbers["refusals_ppm"] == 0
        assert numbers["requests"] >= 200 >= numbers["own_requests"] > 150
        for name in ("logs", "logs-private", "restarts-window"):
            row = await rig.row(name, target=target, run=run)
            assert row.outcome == PASSED, (name, row.lines)


async def test_every_family_that_is_read_is_one_of_the_server(rig: Rig) -> None:
    async with httpx.AsyncClient() as client:
        text = (await client.get(rig.server().metrics_url)).text
    declared = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert set(FAMILIES.values()) <= declared
    assert {*LOWEST} == {*FAMILIES.values()}


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("", failed("missing:less_sync_http_requests_total")),
        ("<html>hello</html>", failed("not-metrics")),
        ("\n".join(f"# TYPE {name} untyped" for name in FAMILIES.values()), PASSED),
        (
            "\n".join(f"# TYPE {name} gauge\n{name} +Inf" for name in FAMILIES.values()),
            failed("not-finite:less_sync_http_requests_total"),
        ),
        (
            "\n".join(f"# TYPE {name} gauge\n{name} NaN" for name in FAMILIES.values()),
            failed("not-finite:less_sync_http_requests_total"),
        ),
    ],
)
async def test_metrics_that_are_empty_or_none(
    rig: Rig, counted: Counted, tmp_path: Path, text: str, outcome: Outcome
) -> None:
    counted.text = text + "\n"
    found = await lane(rig, counted, tmp_path)
    assert found.pop("scrape", PASSED) == outcome
    # There is nothing for the others to judge, or nothing that they can read.
    unread = outcome if outcome == failed("not-metrics") else NO_DATA
    assert found == dict.fromkeys(METRICS[1:], unread)


def reply(body: bytes) -> Reply:
    """200 with this body."""
    return Reply(200, (("Content-Length", str(len(body))),), body)


async def test_metrics_that_anybody_can_read(rig: Rig, counted: Counted, tmp_path: Path) -> None:
    def make(proxy: FaultProxy) -> None:
        proxy.answer(reply(b"# TYPE less_sync_rpc_total counter\n"), path="/metrics")

    make(rig.proxy())
    assert await lane(rig, counted, tmp_path) == {"scrape": failed("public")}
    assert red(await under(make, rig, SERVICE)) == {}
    rig.proxy().mend()
    rig.proxy().answer(reply(b"<html>the page for every path</html>"), path="/metrics")
    assert await rig.outcome("scrape", run=counting(rig, counted)) == PASSED


async def test_metrics_that_cannot_be_had(rig: Rig, counted: Counted, tmp_path: Path) -> None:
    missing = Outcome(Status.BLOCKED, "input:STAGING_METRICS_URL")
    assert await rig.outcome("scrape", without=("metrics",)) == missing
    for status in (401, 302, 500):
        counted.status = status
        # Nobody else can read them either.
        assert await lane(rig, counted, tmp_path) == dict.fromkeys(METRICS, failed(f"status:{status}"))
    assert len(counted.asked) == 3 * len(METRICS)  # no redirect was followed
    counted.status, counted.text = 200, "# " + "x" * (4 * 1024 * 1024)
    assert await rig.outcome("scrape", run=counting(rig, counted)) == failed("too-long")
    run = rig.run()
    run.targets["staging"].metrics_url = "http://127.0.0.1:1/metrics"
    assert await rig.outcome("scrape", run=run) == failed("unreachable:connect")


async def test_metrics_by_a_command_and_with_a_token(rig: Rig, counted: Counted, tmp_path: Path) -> None:
    assert (
        await rig.outcome("scrape", run=counting(rig, counted, inputs={"STAGING_METRICS_TOKEN": "t" * 20}))
        == PASSED
    )
    assert f"x-admin-token: {'t' * 20}" in counted.asked[-1].lower()
    counted.status = 500
    text = tmp_path / "metrics"
    text.write_text(counted._text())
    for command, outcome in (
        (f"cat {text}", PASSED),
        ("false", Outcome(Status.ERROR, "command-status:1")),
        ("/nowhere/at-all", Outcome(Status.ERROR, "command-not-found")),
    ):
        run = counting(rig, counted, inputs={"STAGING_METRICS_COMMAND": command})
        assert await rig.outcome("scrape", run=run) == outcome


async def test_a_manifest_may_say_what_another_server_calls_its_families(rig: Rig, counted: Counted) -> None:
    other = {use: f"other_{name}" for use, name in FAMILIES.items()}
    counted.text = "\n".join(f"# TYPE {name} untyped" for name in other.values()) + "\n"
    assert await rig.outcome("scrape", run=counting(rig, counted, metrics=other)) == PASSED


@pytest.mark.parametrize(
    ("grown", "outcome"),
    [
        (
            [("requests", 'route="/x",code="200"', 392), ("requests", 'route="/x",code="500"', 8)],
            failed("http-5xx"),
        ),
        (
            [("requests", 'route="/x",code="200"', 396), ("requests", 'route="/x",code="503"', 4)],
            failed("http-5xx"),
        ),
        ([("requests", 'route="/x",code="200"', 397), ("requests", 'route="/x",code="503"', 3)], PASSED),
        ([("requests", 'route="/x",code="200"', 200), ("requests", 'route="/x",code="aborted"', 50)], PASSED),
        (
            [("requests", 'route="/x",code="200"', 200), ("rpc", 'method="push",code="internal"', 1)],
            failed("rpc-internal"),
        ),
        (
            [("requests", 'route="/x",code="101"', 300), ("refusals", 'reason="auth_timeout"', 10)],
            failed("handshakes-refused"),
        ),
        ([("requests", 'route="/x",code="101"', 300), ("refusals", 'reason="auth_timeout"', 9)], PASSED),
        (
            [("requests", 'route="/x",code="101"', 290), ("refusals", 'reason="http_401"', 10)],
            failed("handshakes-refused"),
        ),
        # Of these ten the stub shows all; what the run adds it does not see.
        ([("requests", 'route="/x",code="200"', 10)], NO_DATA),
        ([("requests", 'route="/health",code="200"', -1)], failed("restarted")),
        ([("rpc", 'method="pull",code="ok"', -50)], failed("restarted")),
    ],
)
async def test_what_was_counted_while_the_run_went_on(
    rig: Rig, counted: Counted, tmp_path: Path, grown: list[tuple[str, str, float]], outcome: Outcome
) -> None:
    async def work() -> None:
        for name, labels, by in grown:
            counted.count(name, labels, by)

    found = await lane(rig, counted, tmp_path, work)
    assert found == ({} if outcome == PASSED else {"errors-window": outcome})


async def test_counters_that_are_not_there_are_no_zeros(rig: Rig, counted: Counted) -> None:
    for use in ("requests", "rpc", "refusals"):
        counted.families = {name: dict(rows) for name, rows in LOWEST.items()}
        del counted.families[FAMILIES[use]]

        async def work(use: str = use) -> None:
            if use != "requests":
                counted.count("requests", 'route="/x",code="200"', 300)

        assert (
            await meanwhile(rig, "errors-window", counting(rig, counted), work, seen=counted)
        ).outcome == NO_DATA


async def test_a_counter_whose_series_is_gone_began_anew(rig: Rig, counted: Counted) -> None:
    async def work() -> None:
        counted.families[FAMILIES["rpc"]].clear()

    assert (
        await meanwhile(rig, "errors-window", counting(rig, counted), work, seen=counted)
    ).outcome == failed("restarted")


async def test_a_server_that_was_restarted_in_between(rig: Rig) -> None:
    async with rig.beside("staging") as before:
        first, second = rig.run(), rig.run()
        rows = [asyncio.create_task(rig.row("restarts-window", run=first))]
        for _ in range(3):
            await talk(rig, second)
        rows.append(asyncio.create_task(rig.row("errors-window", run=second)))
        await asyncio.sleep(0.5)
        async with rig.beside("staging") as after:
            assert after.process.pid != before.process.pid
            for run in (first, second):
                run.targets["staging"].metrics_url = after.metrics_url
                run.others_done.set()
            seen = [(await row).outcome for row in rows]
            assert await rig.outcome("scrape", run=first) == PASSED
            assert red(await under(nothing_done, rig, SERVICE)) == {}
    assert seen == [failed("restarted"), failed("restarted")]


async def test_a_worker_that_was_replaced_is_named(rig: Rig, counted: Counted, tmp_path: Path) -> None:
    starts = counted.families[FAMILIES["start_time"]]
    starts.clear()
    starts |= {'worker="supervisor"': 1.7e9, 'worker="1"': 1.7e9 + 1, 'worker="2"': 1.7e9 + 1}
    run = counting(rig, counted)
    assert (await meanwhile(rig, "restarts-window", run, nothing, seen=counted)).outcome == PASSED

    async def replaced() -> None:
        starts['worker="2"'] += 60
        counted.count("requests", 'route="/x",code="200"', 300)

    found = await lane(rig, counted, tmp_path, replaced)
    assert found == {"restarts-window": failed("restarted:2")}

    async def missing() -> None:
        del starts['worker="1"']

    seen = await meanwhile(rig, "restarts-window", counting(rig, counted), missing, seen=counted)
    assert seen.outcome == failed("restarted:1")
    starts.clear()
    assert (
        await meanwhile(rig, "restarts-window", counting(rig, counted), nothing, seen=counted)
    ).outcome == NO_DATA


async def test_a_watchdog_whose_record_does_not_come_back(rig: Rig) -> None:
    settings = {"LIMIT_DELIVERY_PROBE_INTERVAL_S": "1"}
    limits = {"age_max_ms": 3_000}
    async with rig.beside("staging", **settings) as server:
        assert await rig.outcome("watchdog", parameters=limits) == PASSED
        async with connected(server.database_url) as connection, connection.transaction():
            # Its space is locked: nothing of it can be written.
            await connection.execute(
                "SELECT FROM spaces WHERE id >= '6c657373-7379-8e63-8000-000000000000' FOR UPDATE"
            )

            async def is_old() -> bool:
                async with httpx.AsyncClient() as client:
                    text = (await client.get(server.metrics_url)).text
                lines = [one for one in text.splitlines() if one.startswith(FAMILIES["delivery_age"])]
                return bool(lines) and float(lines[0].split()[-1]) > 3

            await until(is_old)
            assert await rig.outcome("watchdog", parameters=limits) == failed("stuck")
            assert await rig.outcome("scrape") == PASSED
            assert red(await under(nothing_done, rig, SERVICE)) == {}


async def test_what_the_watchdog_must_tell(rig: Rig, counted: Counted, tmp_path: Path) -> None:
    async def asked(name: str, value: float | None) -> Outcome:
        counted.families = {each: dict(rows) for each, rows in LOWEST.items()}
        family = counted.families[FAMILIES[name]]
        family.clear()
        if value is not None:
            family[""] = value
        found = await lane(rig, counted, tmp_path)
        outcome = found.pop("watchdog", PASSED)
        # What is no number is none of a family that can be read.
        endless = value == float("inf")
        not_finite = failed(f"not-finite:{FAMILIES[name]}")
        assert found == ({"scrape": not_finite} if endless else {})
        return outcome

    assert await asked("delivery_lag", 2.0) == PASSED
    assert await asked("delivery_lag", 2.001) == failed("late")
    assert await asked("delivery_lag", float("inf")) == failed("late")
    assert await asked("delivery_age", 30.5) == failed("stuck")
    assert await asked("delivery_proofs", 0) == NO_DATA
    assert await asked("delivery_lag", None) == NO_DATA
    assert await asked("delivery_age", None) == NO_DATA
    assert await asked("delivery_proofs", None) == NO_DATA


async def test_the_first_proof_is_waited_for(rig: Rig, counted: Counted) -> None:
    lag = counted.families[FAMILIES["delivery_lag"]]
    value = lag.pop("")
    task = asyncio.create_task(rig.outcome("watchdog", run=counting(rig, counted)))

    async def asked_twice() -> bool:
        return len(counted.asked) >= 2

    await until(asked_twice)
    lag[""] = value
    assert await task == PASSED


def script(folder: Path, text: str) -> str:
    """A command that prints this."""
    output, program = folder / "printed", folder / "prints"
    output.write_text(text)
    program.write_text(f"#!/bin/sh\ncat {output}\n")
    program.chmod(0o755)
    return str(program)


END: Final = '{"end": true}\n'
ERROR: Final = '{"level": "error", "message": "storage failed"}\n'


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        (END, PASSED),
        ("", failed("no-end")),
        ("\n\n", failed("no-end")),
        (ERROR * 3, failed("error-events")),
        (ERROR + END, failed("error-events")),
        ('{"message": "what is no error has a level"}\n' + END, failed("error-events")),
        ('{"level": "info", "message": "all is well"}\n' + END, PASSED),
        ('{"level": "info", "message": "all is well"}\n', failed("no-end")),
        ('{"severity": "CRITICAL"}\n' + END, failed("error-events")),
        ('{"level": 50}\n' + END, failed("error-events")),
        ("no errors found\n", failed("not-json")),
        ("[]\n" + END, failed("not-json")),
    ],
)
async def test_what_a_log_probe_prints(
    rig: Rig, counted: Counted, tmp_path: Path, text: str, outcome: Outcome
) -> None:
    run = rig.run(inputs={"LOG_PROBE_COMMAND": script(tmp_path, text)})
    found = await lane(rig, counted, tmp_path, log=script(tmp_path, text))
    assert found.pop("logs", PASSED) == outcome
    # A log that does not end, or is none, says nothing of what it holds.
    unread = text.strip() == "" or outcome == failed("not-json")
    assert found == ({"logs-private": outcome} if unread else {})
    run.others_done.set()
    seen = await rig.row("logs", run=run)
    assert seen.outcome == outcome
    assert "storage failed" in seen.evidence or ERROR not in text


async def test_a_log_probe_is_told_where_and_how_far(rig: Rig, tmp_path: Path) -> None:
    program = tmp_path / "probe"
    program.write_text('#!/bin/sh\n[ "$1 $2" = "production 600" ] && echo \'{"end": true}\'\n')
    program.chmod(0o755)
    run = rig.run(inputs={"LOG_PROBE_COMMAND": str(program)})
    run.others_done.set()
    assert await rig.outcome("logs", target="production", run=run) == PASSED
    assert await rig.outcome("logs", run=run) == Outcome(Status.ERROR, "command-status:1")


async def test_without_a_probe_the_rows_are_blocked(rig: Rig) -> None:
    run = rig.run()
    run.others_done.set()
    for name in ("logs", "logs-private"):
        assert await rig.outcome(name, run=run) == Outcome(Status.BLOCKED, "input:LOG_PROBE_COMMAND")


async def test_errors_in_the_log_of_a_server_that_the_run_started(rig: Rig, tmp_path: Path) -> None:
    async def asked(text: str) -> Outcome:
        run = rig.run()
        run.targets["staging"].log_path = tmp_path / "log"
        (tmp_path / "log").write_text(text)
        run.others_done.set()
        return await rig.outcome("logs", run=run)

    told = json.dumps({"ts": "2026-01-01T00:00:00Z", "level": "error", "msg": "storage failed"})
    fine = told.replace("error", "info")
    assert await asked(f"{fine}\nless-sync listens on http://127.0.0.1:1\n") == PASSED
    assert await asked(f"{fine}\n{told}\n") == failed("error-events")
    assert await asked("2026-01-01T00:00:00Z  ERROR storage failed\n") == failed("error-events")
    assert await asked("\x1b[2m2026-01-01T00:00:00Z\x1b[0m \x1b[31mERROR\x1b[0m failed\n") == failed(
        "error-events"
    )
    assert await asked("2026-01-01T00:00:00Z INFO ERROR is only a word\n") == PASSED
    assert await asked("") == failed("no-end")


async def writes(context: Context) -> None:
    """A check that stores what the run made up."""
    context.measured.same("wrote", True, True, "wrote")


async def test_a_log_that_tells_of_people_or_of_what_they_store(
    rig: Rig, counted: Counted, tmp_path: Path
) -> None:
    writer = check_of(
        Procedure("writes", "contract", writes, "writes", (Same("wrote"),), writes=True), "staging"
    )
    run = rig.run(checks=(writer,))
    run.others_done.set()
    owner = run.people.person("staging", "owner")
    token, did, mailbox = await owner.token(), owner.did, await owner.mailbox()
    stream = Stream(run.id, writer.id)
    payload = stream.take(1024)

    async def asked(text: str) -> Outcome:
        line = json.dumps({"level": "info", "message": text}) + "\n"
        run.inputs = rig.run(inputs={"LOG_PROBE_COMMAND": script(tmp_path, line + END)}).inputs
        row = await rig.row("logs-private", run=run)
        assert token not in row.evidence
        # The same output is no error.
        assert await rig.outcome("logs", run=run) == PASSED
        return row.outcome

    assert await asked("all is well") == PASSED
    assert await asked(f"token refused: {token}") == failed("logged:token")
    assert await asked(base64.b64encode(token.encode()).decode()) == failed("logged:token")
    assert await asked(f"user {did}") == failed("logged:did:owner")
    assert await asked(f"mailbox {mailbox}") == failed("logged:mailbox:owner")
    another = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
    assert await asked(f"of somebody else: {another}") == failed("logged:net:token")
    line = json.dumps({"level": "info", "message": another}) + "\n"
    found = await lane(rig, counted, tmp_path, log=script(tmp_path, line + END))
    assert found == {"logs-private": failed("logged:net:token")}
    for spelled in (
        payload.hex(),
        payload[5:200].hex().upper(),
        base64.b64encode(b"x" + payload).decode(),
        base64.urlsafe_b64encode(b"xy" + payload[:200]).decode(),
    ):
        assert await asked(f"blob {spelled}") == failed("logged:payload:contract-staging-writes"), spelled
    run.targets["staging"].log_path = tmp_path / "raw"
    (tmp_path / "raw").write_bytes(b"blob " + payload[:100] + b"\n")
    row = await rig.row("logs-private", run=run)
    assert row.outcome == failed("logged:payload:contract-staging-writes")


async def test_an_alert_that_is_swallowed(rig: Rig, counted: Counted, tmp_path: Path) -> None:
    swallowed = await lane(rig, counted, tmp_path, alert=script(tmp_path, ""))
    assert swallowed == {"alerts": failed("not-received")}

    async def asked(command: str, within_s: int = 120) -> Outcome:
        run = rig.run(inputs={"ALERT_PROBE_COMMAND": command})
        limit = {"within_s": within_s}
        return await rig.outcome("alerts", target="production", run=run, parameters=limit)

    assert await asked(script(tmp_path, '{"received": true}\n')) == PASSED
    assert await asked(script(tmp_path, '{"received": false}\n')) == failed("not-received")
    assert await asked(script(tmp_path, "")) == failed("not-received")
    assert await asked(script(tmp_path, "received\n")) == failed("not-json")
    assert await asked("false") == failed("not-received")
    assert await asked("sleep 60", within_s=1) == failed("not-received")
    assert await rig.outcome("alerts", target="production") == Outcome(
        Status.BLOCKED, "input:ALERT_PROBE_COMMAND"
    )
