"""`less-sync fleet` `agents`, `stats`, `enrol` and `alerts`, at a plane that is served."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from less_sync.fleet.store.alerts import Alert, raise_alerts
from tests.fleet.commands import good, listed, run
from tests.fleet.rig import Fleet, registration, served

REPORT = {
    "connections": 1200,
    "records": 5,
    "file_bytes": 5,
    "disk_free_ratio": 0.25,
    "memory_used_bytes": 2**30,
    "database_ok": True,
    "features": ["files"],
    "backup_age_seconds": 7200,
}


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_agents_are_listed_in_a_table_or_as_json(fleet: Fleet) -> None:
    berlin = await fleet.register(name="sync-1", region="berlin", labels={"rack": "7"})
    oslo = await fleet.register(name="store", kind="volume", version="1.1.0")
    await fleet.execute("UPDATE agents SET status = 'stale' WHERE name = 'store'")
    table = words(await good(fleet, "agents"))
    assert table[0] == ["NAME", "STATUS", "KIND", "VERSION", "REGION", "HEARD", "STATE", "ID"]
    assert [row[:5] for row in table[1:]] == [
        ["sync-1", "active", "sync", "1.0.0", "berlin"],
        ["store", "stale", "volume", "1.1.0", "-"],
    ]
    assert [row[-1] for row in table[1:]] == [berlin.agent_id, oslo.agent_id]
    assert [one["name"] for one in await listed(fleet, "agents")] == ["sync-1", "store"]


FILTERS: Final[Mapping[tuple[str, ...], list[str]]] = {
    ("--status", "stale"): ["store"],
    ("--kind", "sync"): ["sync-1"],
    ("--version", "1.1.0"): ["store"],
    ("--region", "berlin"): ["sync-1"],
    ("--label", "rack=7", "--label", "row=b"): ["sync-1"],
    ("--like", "SYNC"): ["sync-1"],
    ("--limit", "1"): ["sync-1"],
    ("--status", "retired"): [],
}


async def test_filters_of_agents(fleet: Fleet) -> None:
    await fleet.register(name="sync-1", region="berlin", labels={"rack": "7", "row": "b"})
    await fleet.register(name="store", kind="volume", version="1.1.0")
    await fleet.execute("UPDATE agents SET status = 'stale' WHERE name = 'store'")
    for filters, names in FILTERS.items():
        assert [one["name"] for one in await listed(fleet, "agents", *filters)] == names, filters


async def test_all_pages_are_listed(fleet: Fleet) -> None:
    await fleet.register(name="agent-0")
    await fleet.execute(
        "INSERT INTO agents (agent_id, instance_id, name, kind, os, arch, version,"
        " heartbeat_interval_seconds, token_hash)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'agent-' || n, 'sync', 'linux', 'amd64',"
        " '1.0.0', 60, sha256(n::text::bytea) FROM generate_series(1, 250) n"
    )
    assert len(await listed(fleet, "agents", "--limit", "1000")) == 251
    assert len(words(await good(fleet, "agents"))) == 201


async def test_no_agents_are_words_and_lead_on(fleet: Fleet) -> None:
    assert (await good(fleet, "agents")).startswith("no agents yet: `less-sync fleet enrol`")
    assert await good(fleet, "agents", "--kind", "sync") == "no agent that fits\n"
    assert await good(fleet, "agents", "--json") == ""


async def test_an_agent_is_shown_by_name_or_id(fleet: Fleet) -> None:
    agent = await fleet.register(name="sync-1", hostname="rack7", labels={"rack": "7"})
    await agent.beat(REPORT)
    by_name = await good(fleet, "agents", "show", "sync-1")
    assert (await good(fleet, "agents", "show", agent.agent_id.upper())).startswith("name  ")
    told = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in by_name.splitlines()}
    assert told["connections"] == "1,200"
    assert told["disk free"] == "25.0 %"
    assert told["memory used"] == "1.0 GiB"
    assert told["database ok"] == "yes"
    assert told["features"] == "files"
    assert told["file contents"] == "5 B"
    assert told["backup age"] == "2.0 h"
    assert told["labels"] == "rack=7"
    assert told["alerts"] == "none"
    assert "spaces" not in told
    (row,) = await listed(fleet, "agents", "show", "sync-1")
    assert row["agent"]["report"]["spaces"] is None


async def test_a_name_is_not_a_beginning_and_one_that_two_have_is_ambiguous(fleet: Fleet) -> None:
    first, second = await fleet.register(name="sync-1"), await fleet.register(name="sync-1")
    await fleet.register(name="sync-10", hostname="sync-2")
    both = await run(fleet, "agents", "drain", "sync-1")
    assert both.exit_code == 1
    assert "2 agents are called sync-1" in both.stderr
    assert first.agent_id in both.stderr
    assert second.agent_id in both.stderr
    for nobody in ("sync-2", "sync", "SYNC-10", str(uuid4()), "sync-1/../x"):
        missing = await run(fleet, "agents", "show", nobody)
        assert (missing.exit_code, missing.stdout) == (1, "")
        assert re.search("there is no agent|agent not found", missing.stderr)
    await good(fleet, "agents", "retire", second.agent_id, "--yes")
    await good(fleet, "agents", "drain", "sync-1")
    assert await fleet.value(
        "SELECT desired_state FROM agents WHERE agent_id::text = $1", first.agent_id
    ) == ("draining")


async def test_an_agent_is_drained_resumed_rotated_and_retired(fleet: Fleet) -> None:
    agent = await fleet.register(name="sync-1")
    assert "drain with its next heartbeat" in await good(fleet, "agents", "drain", "sync-1")
    assert (await agent.beat({"draining": False})).json()["desired"]["state"] == "draining"
    assert "to drain" in await good(fleet, "agents")
    await agent.beat({"draining": True})
    assert "draining" in await good(fleet, "agents")
    await good(fleet, "agents", "resume", "sync-1")
    await good(fleet, "agents", "rotate", agent.agent_id)
    answer = (await agent.beat()).json()
    assert answer["desired"]["state"] == "serving"
    assert answer["commands"] == [{"type": "rotate_token"}]
    unasked = await run(fleet, "agents", "retire", "sync-1")
    assert (unasked.exit_code, "--yes" in unasked.stderr) == (2, True)
    assert await good(fleet, "agents", "retire", "sync-1", "--yes") == "retired sync-1\n"
    assert (await agent.beat()).status_code == 410
    again = await run(fleet, "agents", "retire", "sync-1", "--yes")
    assert (again.exit_code, "agent retired" in again.stderr) == (1, True)
    assert "retired" in await good(fleet, "agents", "show", "sync-1")


async def test_the_fleet_in_figures(fleet: Fleet) -> None:
    assert "agents       0: `less-sync fleet enrol`" in await good(fleet, "stats")
    fleet.use()  # figures count for five seconds
    for number in range(8):
        agent = await fleet.register(name=f"sync-{number}", version=f"1.0.{number % 7}", region="oslo")
    await agent.beat(REPORT)
    told = dict(re.split(" {2,}", line, maxsplit=1) for line in (await good(fleet, "stats")).splitlines())
    assert told["agents"] == "8: 8 active, 0 stale, 0 inactive; 0 retired"
    assert told["version"].startswith("2 1.0.0, 1 1.0.1")
    assert told["version"].endswith("1 more")
    assert (told["connections"], told["records"]) == ("1,200", "5")
    (row,) = await listed(fleet, "stats")
    assert row["total"] == 8


async def test_the_line_of_an_enrolment_registers_a_server(fleet: Fleet) -> None:
    labels = ("--label", "rack=7", "--label", "note=a=b")
    made = await run(fleet, "enrol", "rack 7", "--servers", "2", "--ttl", "90m", *labels)
    assert made.exit_code == 0
    variables = dict(one.split("=", 1) for one in shlex.split(made.stdout)[:-2])
    assert shlex.split(made.stdout)[-2:] == ["less-sync", "serve"]
    assert variables["FLEET_URL"] == fleet.url
    assert "2 servers" in made.stderr
    assert "--server-url" in made.stderr
    kept = await fleet.rows(
        "SELECT label, max_uses, extract(epoch FROM expires_at - created_at)::int AS ttl"
        " FROM enrolment_tokens"
    )
    assert kept == [{"label": "rack 7", "max_uses": 2, "ttl": 5400}]
    shown = {"Authorization": f"Bearer {variables['FLEET_ENROLMENT_TOKEN']}"}
    answer = await fleet.anonymous.post(
        "/management/v1/agents/register", json=registration(name="new"), headers=shown
    )
    assert answer.status_code == 201
    assert (await listed(fleet, "agents", "show", "new"))[0]["agent"]["labels"] == {
        "rack": "7",
        "note": "a=b",
    }


@pytest.mark.parametrize(
    ("server_url", "told"),
    [
        ("fleet.example.org", {"FLEET_URL": "https://fleet.example.org"}),
        ("http://10.0.0.7:5380", {"FLEET_URL": "http://10.0.0.7:5380", "FLEET_ALLOW_HTTP": "true"}),
    ],
)
async def test_servers_may_reach_the_plane_by_another_address(
    fleet: Fleet, server_url: str, told: dict[str, str]
) -> None:
    (row,) = await listed(fleet, "enrol", "--server-url", server_url)
    token = row["token"]
    assert row["variables"] == {**told, "FLEET_ENROLMENT_TOKEN": token}
    assert row["enrolment_token"]["max_uses"] == 1


async def some_alerts(fleet: Fleet) -> list[str]:
    """An open warning and an acknowledged critical one, newest first."""
    agent = await fleet.register(name="sync-1")
    async with fleet.plane.database.transaction() as connection:
        disk = Alert("agent.disk", "warning", "agent", agent.agent_id, "sync-1: disk \x1b[31mfull")
        mass = Alert("cluster.mass_stale", "critical", "cluster", "fleet", "half the fleet is silent")
        made = [str(row["id"]) for row in await raise_alerts(connection, [disk, mass])]
    await fleet.execute(
        "UPDATE alerts SET raised_at = raised_at - interval '1 hour' WHERE id::text = $1", made[1]
    )
    return made


async def test_alerts_are_listed_acknowledged_and_resolved(fleet: Fleet) -> None:
    assert await good(fleet, "alerts") == "no alerts: all is well\n"
    disk, mass = await some_alerts(fleet)
    table = (await good(fleet, "alerts")).splitlines()
    assert [line.split()[-1] for line in table] == ["ID", disk, mass]
    assert "\\x1b[31mfull" in table[1]
    assert "1.0 h ago" in table[2]
    assert [one["id"] for one in await listed(fleet, "alerts", "--severity", "critical")] == [mass]
    assert [one["id"] for one in await listed(fleet, "alerts", "--kind", "agent.disk")] == [disk]
    assert [one["id"] for one in await listed(fleet, "alerts", "--agent", "sync-1")] == [disk]
    assert await good(fleet, "alerts", "--status", "acknowledged") == "no alert that fits\n"
    told = await good(fleet, "alerts", "ack", disk, "--note", "disk ordered")
    assert told.startswith("acknowledged by management-key: agent.disk, sync-1")
    assert await fleet.value("SELECT note FROM alerts WHERE id::text = $1", disk) == "disk ordered"
    await good(fleet, "alerts", "resolve", disk)
    assert [one["id"] for one in await listed(fleet, "alerts", "--status", "resolved")] == [disk]
    assert len(await listed(fleet, "alerts", "--status", "all", "--since", "2020-01-01T00:00:00Z")) == 2


WRONG: Final = (
    (("agents", "--status", "dead"), 2, "dead"),
    (("agents", "--limit", "0"), 2, "--limit"),
    (("agents", "--label", "rack"), 2, "--label rack: expected KEY=VALUE"),
    (("agents", "--json", "show", "x"), 2, "behind `show`"),
    (("agents", "--region", "no region"), 1, "region: must have"),
    (("agents", "show"), 2, "AGENT"),
    (("agents", "show", ""), 1, "q: must have"),
    (("enrol", "x", "--servers", "0"), 2, "--servers"),
    (("enrol", "x", "--ttl", "soon"), 2, "90m"),
    (("enrol", "x", "--ttl", "9"), 1, "ttl_seconds: must be between"),
    (("enrol", "x", "--label", "a=1", "--label", "a=2"), 2, "a is there twice"),
    (("enrol", "x", "--label", "less-sync/x=1"), 1, "the plane's own"),
    (("enrol", "x", "--server-url", "ftp://x"), 2, "not a plane's address"),
    (("alerts", "ack", "first"), 2, "'first' is not the id of an alert"),
    (("alerts", "resolve", str(uuid4())), 1, "alert not found"),
    (("alerts", "--since", "yesterday"), 1, "since: expected a time"),
    (("alerts", "--agent", "nobody"), 1, "there is no agent nobody"),
    (("stats", "--url", "ftp://x"), 2, "not a plane's address"),
    (("stats", "--url", "http://127.0.0.1:1"), 3, "cannot reach"),
    (("stats", "--key-file", "/nowhere/key"), 2, "cannot read the key file"),
)


async def test_what_is_wrong_is_told_and_has_its_exit_code(fleet: Fleet) -> None:
    for arguments, code, text in WRONG:
        result = await run(fleet, *arguments)
        assert (result.exit_code, result.stdout) == (code, ""), (arguments, result.output)
        assert text in " ".join(result.stderr.split()), arguments


async def test_a_wrong_key_is_not_allowed_and_the_key_of_dev_mode_is_found(
    fleet: Fleet, tmp_path: Path
) -> None:
    assert (await run(fleet, "agents", key="w" * 32)).exit_code == 4
    (tmp_path / "fleet").mkdir()
    (tmp_path / "fleet" / "management.key").write_text(fleet.plane.settings.management_keys[0] + "\n")
    assert await good(fleet, "alerts", key=None, DATA_DIR=str(tmp_path)) == "no alerts: all is well\n"
    key_file = ("--key-file", str(tmp_path / "fleet" / "management.key"))
    assert await good(fleet, "alerts", *key_file, key=None) == "no alerts: all is well\n"


_LISTS: Final = ("agents", "alerts", "webhooks", "deliveries", "enrolment_tokens", "users")
_NONE: Final[Mapping[str, Any]] = {"name": "x", "agent_id": "../x", "username": "x", "url": "x", "id": "../x"}
STRANGE: Final[Sequence[Mapping[str, Any]]] = (
    {**dict.fromkeys((*_LISTS, "agent", "alert", "webhook", "delivery", "token", "total", "by_status"), 7)},
    {
        **{name: [_NONE] for name in _LISTS},
        "next_cursor": None,
        "agent": _NONE,
        "webhook": _NONE,
        "alert": {"acknowledged_by": 7},
        "delivery": {"id": 7, "history": 7},
        "enrolment_token": {"expires_at": "soon"},
    },
)
"""What no plane answers: other types, and ids that would be another path."""
ID: Final = str(uuid4())
ASKED: Final = (
    *(("agents",), ("agents", "show", "x"), ("agents", "drain", ID), ("stats",), ("enrol",), ("enrolments",)),
    *(("alerts",), ("alerts", "ack", ID), ("webhook", "list"), ("webhook", "deliveries")),
    *(("webhook", "add", "x"), ("webhook", "test", "x"), ("webhook", "test", ID)),
    *(("webhook", "disable", "x"), ("webhook", "rotate", ID), ("webhook", "delivery", ID)),
    *(("admin", "role", "x", "viewer"), ("admin", "disable", "x"), ("admin", "remove", "x", "--yes")),
)


async def test_an_answer_that_is_none_of_a_plane_is_told_and_leads_nowhere(fleet: Fleet) -> None:
    paths: list[str] = []
    answer: Mapping[str, Any] = {}

    async def strange(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["path"])
        await JSONResponse(answer)(scope, receive, send)

    async with served(strange) as url:
        for arguments in ASKED:
            for answer in STRANGE:
                result = await run(fleet, *arguments, LESS_SYNC_FLEET_URL=url)
                assert (result.exit_code, result.stdout) == (1, ""), (arguments, answer, result.output)
                assert result.stderr.startswith("Error: "), arguments
    assert not any(".." in path for path in paths)
