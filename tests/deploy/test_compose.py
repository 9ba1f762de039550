"""compose.yaml: by the schema of Compose, and what an operator relies on."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml  # type: ignore[import-untyped]  # ships no types

from less_sync.bins.settings.config import Settings

ROOT: Final = Path(__file__).parents[2]
FILE: Final = ROOT / "compose.yaml"
EXAMPLE: Final = ROOT / ".env.example"
GRACE_S: Final = 8
VARIABLE: Final = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(FILE.read_text())["services"][name]
    return found


def filled(value: object, given: dict[str, str]) -> str:
    """A value as Compose interpolates it."""
    return VARIABLE.sub(
        lambda found: given.get(found[1]) or (found[3] if found[2] == "-" else ""), str(value)
    )


def test_the_file_fits_the_schema_of_compose() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, str(FILE)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_the_server_waits_for_a_healthy_database_and_has_time_to_stop() -> None:
    sync, postgres = service("sync"), service("postgres")
    assert sync["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    assert "--host=127.0.0.1" in postgres["healthcheck"]["test"], "not its socket, which is there too early"
    assert int(sync["stop_grace_period"].removesuffix("s")) > GRACE_S + 10
    assert sync["init"] is True
    assert "curl" in sync["healthcheck"]["test"]


def test_only_the_server_s_port_is_published_and_only_to_this_host() -> None:
    assert service("sync")["ports"] == ["127.0.0.1:${SYNC_PORT:-5379}:5379"]
    assert "ports" not in service("postgres")
    assert service("sync")["environment"]["ADMIN_ADDR"].startswith("127.0.0.1:")


def test_data_outlives_the_containers_and_nothing_else_is_written() -> None:
    sync, postgres = service("sync"), service("postgres")
    assert sync["volumes"] == ["sync:/var/lib/less-sync"]
    assert postgres["volumes"] == ["postgres:/var/lib/postgresql"]
    assert yaml.safe_load(FILE.read_text())["volumes"].keys() == {"sync", "postgres"}
    assert (sync["read_only"], sync["cap_drop"]) == (True, ["ALL"])
    assert sync["environment"]["FILE_STORAGE_PATH"].startswith("/var/lib/less-sync/")


def test_the_example_holds_no_secret_and_names_all_that_is_asked_for() -> None:
    lines = [line for line in EXAMPLE.read_text().splitlines() if line and not line.startswith("#")]
    given = dict(line.split("=", 1) for line in lines)
    assert {name for name, value in given.items() if value} == {"AUDIENCES"}
    asked = {found[1] for found in VARIABLE.finditer(FILE.read_text()) if found[2] == "?"}
    assert asked == {"POSTGRES_PASSWORD", "TRUSTED_ISSUERS", "IDENTITY_HASH_KEY"}
    assert asked <= given.keys()
    assert {found[1] for found in VARIABLE.finditer(FILE.read_text())} >= given.keys()


def test_the_server_takes_the_settings_that_the_file_gives_it() -> None:
    given = {
        "POSTGRES_PASSWORD": "0123abcd",
        "TRUSTED_ISSUERS": "https://accounts.example",
        "IDENTITY_HASH_KEY": "ab" * 32,
    }
    environ = {name: filled(value, given) for name, value in service("sync")["environment"].items()}
    environ["DATA_DIR"] = "/var/lib/less-sync"  # the image's
    settings = Settings.from_env(environ)
    assert settings.database.url == "postgres://less_sync:0123abcd@postgres:5432/less_sync?sslmode=disable"
