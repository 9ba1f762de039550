"""`less-sync fleet show-report`: the bytes that a server with these settings would send."""

import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from less_sync.bins.commands.app import app
from less_sync.fleet.reporter.messages import heartbeat_body, registration_body
from less_sync.fleet.reporter.report import Report
from less_sync.fleet.reporter.state import STATE_FILE
from tests.fleet.reported import IDENTITY
from tests.live import ISSUER


async def show(data_dir: Path, *arguments: str, **env: str) -> Result:
    given = {"DATA_DIR": str(data_dir), **env}
    return await asyncio.to_thread(CliRunner().invoke, app, ["fleet", "show-report", *arguments], env=given)


async def test_a_heartbeat_is_shown_as_it_would_be_sent(database_url: str, tmp_path: Path) -> None:
    env = {"DATABASE_URL": database_url, "TRUSTED_ISSUERS": ISSUER, "BACKUP_INTERVAL_SECONDS": "60"}
    done = await show(tmp_path, **env)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    report = Report(**told["report"])
    again = heartbeat_body(
        report,
        sequence=1,
        boot_id=told["boot_id"],
        version=told["version"],
        uptime_s=0,
        sent_at=told["sent_at"],
    )
    assert done.stdout_bytes == again + b"\n"
    assert (report.connections, report.records, report.database_ok) == (0, 0, True)
    assert (report.database_kind, report.backup_interval_seconds) == ("external", 60)
    assert report.migration
    assert report.migration > 100
    assert list(tmp_path.iterdir()) == [], "nothing is made"


async def test_the_minimal_one_asks_no_database(tmp_path: Path) -> None:
    env = {
        "DATABASE_URL": "postgres://127.0.0.1:1/none",
        "TRUSTED_ISSUERS": ISSUER,
        "FLEET_REPORT": "minimal",
    }
    done = await show(tmp_path, **env)
    report = json.loads(done.stdout)["report"]
    assert {name for name, value in report.items() if value is not None} == {
        *("disk_used_bytes", "disk_total_bytes", "disk_free_ratio", "draining", "stopping"),
    }
    assert done.stderr == ""


async def test_a_registration_has_the_id_that_is_kept(tmp_path: Path) -> None:
    first = json.loads((await show(tmp_path, "--registration", FLEET_NAME="n")).stdout)
    assert (first["name"], first["kind"], UUID(first["instance_id"]).version) == ("n", "sync", 4)
    assert list(first) == list(json.loads(registration_body(IDENTITY, "x")))
    kept = "6f1b1a52-6a3c-4f0e-9d6e-0d6a4f1f2a33"
    (tmp_path / STATE_FILE).write_text(json.dumps({"instance_id": kept, "token": "lsa_secret"}))
    told = await show(tmp_path, "--registration")
    assert json.loads(told.stdout)["instance_id"] == kept
    assert "lsa_secret" not in told.stdout
    (tmp_path / STATE_FILE).write_text("{")
    assert (await show(tmp_path, "--registration")).exit_code == 1


@pytest.mark.parametrize("arguments", [(), ("--registration",)])
async def test_all_problems_of_the_settings_are_told(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = await show(tmp_path, *arguments, FLEET_URL="x", FLEET_REPORT="x")
    assert (done.exit_code, done.stdout, done.stderr.count("Error: ")) == (1, "", 2)
