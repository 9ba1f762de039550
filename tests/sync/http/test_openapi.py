"""docs/openapi.yaml says what a real server does, and every route of it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import yaml  # type: ignore[import-untyped]  # it has no types

from less_sync.federation.gate import PeerGate
from less_sync.federation.inbound.files import COVERED_CHARS_MAX, COVERING, PeerFiles
from less_sync.federation.quotas import QuotaTracker
from less_sync.federation.routes import PeerRoutes
from less_sync.federation.settings import FederationSettings, PeerQuotas
from less_sync.storage.objects.memory import MemoryBlobs
from less_sync.sync.http.app import create_app
from less_sync.sync.http.routing import RawRoute
from less_sync.sync.services import Services
from tests.federation.signed import Peer, gate_of
from tests.live import Person, live_server
from tests.sync.file_requests import Shelf, shelf
from tests.sync.http.test_app import RPC, UPGRADE
from tests.sync.raw_http import connected

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = ROOT / "docs" / "openapi.yaml"
EXAMPLES_MAX: Final = 5
"""Of each operation and each phase."""
NOT_CALLED: Final = {
    "connect": "who gets a 101 must go on as a WebSocket, which no client of HTTP does",
}
"""By operation, with the reason. Upgrades are tried in test_upgrade.py."""
NOT_CHECKED: Final = {
    (
        "headConnect",
        "positive_data_acceptance",
    ): "HEAD of a WebSocket route is 405",
    ("headConnectPeer", "positive_data_acceptance"): "the same",
    (
        "connectPeer",
        "content_type_conformance",
    ): "the 400 for a missing subprotocol has no text",
    ("preflightFile", "negative_data_rejection"): "OPTIONS is answered before anything else is looked at",
    ("preflightFileForServer", "negative_data_rejection"): "the same",
}
"""Checks that the contract contradicts, by operation, with the reason."""


PEER: Final = Peer()


class OneKey:
    """A server with the key of a peer, for want of its own."""

    async def jwks(self) -> bytes:
        return json.dumps({"keys": [PEER.entry()]}).encode()


def peer_routes(services: Services) -> PeerRoutes:
    settings = FederationSettings(trust=PEER.trust())
    assert services.files is not None
    gate = PeerGate(settings, covering=COVERING, covered_chars_max=COVERED_CHARS_MAX)
    files = PeerFiles(services, services.files, gate)
    return PeerRoutes(settings, QuotaTracker(PeerQuotas()), OneKey(), files)


def description() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(PAGE.read_text())
    return document


def about(own: Shelf, shared: str, file: UUID) -> dict[str, Any]:
    """The description, in which half of all spaces and files, and all good records, are these."""
    document = description()
    parameters = document["components"]["parameters"]
    for name, values in (("space_id", [own.client.space, shared]), ("id", [str(file)])):
        parameters[name]["schema"] = {"anyOf": [{"enum": values}, parameters[name]["schema"]]}
    parameters["X-Record-ID"]["schema"] = {"type": "string", "enum": [own.record]}
    (domain,) = document["paths"]["/api/v1/federation/status/{domain}"]["parameters"]
    domain["schema"] = {"anyOf": [{"enum": [PEER.host]}, domain["schema"]]}
    return document


def configuration() -> str:
    """What schemathesis is told beyond its command line."""
    lines: list[str] = []
    for (operation, check), reason in NOT_CHECKED.items():
        lines += [f"# {reason}", "[[operations]]", f'include-operation-id = ["{operation}"]']
        lines += [f"checks.{check}.enabled = false"]
    return "\n".join(lines)


async def test_the_server_does_as_its_description_says(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "schemathesis.toml").write_text(configuration())
    async with live_server(
        database_url,
        blobs=MemoryBlobs(),
        file_bytes_max=64 * 1024,
        routes=gate_of(FederationSettings(trust=PEER.trust())),
        federation=peer_routes,
    ) as live:
        own, person, file = await shelf(live), Person("alice"), uuid4()
        shared = await own.client.create_space(person)
        token = live.token(person.name, did=person.did)
        (tmp_path / "openapi.json").write_text(json.dumps(about(own, shared, file)))
        run = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("schemathesis"),
            *("run", "openapi.json", "--url", f"http://127.0.0.1:{live.port}"),
            *(
                "--header",
                f"Authorization: Bearer {token}",
                "--warnings",
                "off",
                "--no-color",
            ),
            *("--generation-deterministic", "--max-examples", str(EXAMPLES_MAX), "--continue-on-failure"),
            *(f"--exclude-operation-id={operation}" for operation in NOT_CALLED),
            cwd=tmp_path,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await run.communicate()
        assert run.returncode == 0, output.decode()
        # Not all of it was refused.
        assert (await own.get(file)).status == 200


async def test_routes_and_methods_are_those_of_the_application(database_url: str) -> None:
    async with live_server(database_url, blobs=MemoryBlobs()) as live:
        app = create_app(live.services, federation=peer_routes(live.services))
        routes = [route for route in app.routes if isinstance(route, RawRoute)]
    described = {
        path: {method.upper() for method in operations if method != "parameters"}
        for path, operations in description()["paths"].items()
    }
    assert described == {route.path: {*route.allow.split(","), "OPTIONS"} for route in routes}


def errors_in(value: object) -> set[str]:
    """Every text that the description says an `error` may have."""
    if isinstance(value, list):
        return set().union(*map(errors_in, value))
    if not isinstance(value, dict):
        return set()
    error = value.get("error") or {}
    own = {error["const"]} if "const" in error else set(error.get("enum", ()))
    return own.union(*map(errors_in, value.values()))


def test_each_error_that_is_described_is_in_the_pages_too() -> None:
    errors = errors_in(description())
    assert len(errors) > 20
    pages = "".join((ROOT / "docs" / name).read_text() for name in ("operations.md", "files.md", "tokens.md"))
    assert [error for error in sorted(errors) if error not in pages] == []


def test_what_is_excluded_is_there_and_has_a_reason() -> None:
    operations = {
        operation["operationId"]
        for path in description()["paths"].values()
        for method, operation in path.items()
        if method != "parameters"
    }
    assert {*NOT_CALLED, *(operation for operation, _ in NOT_CHECKED)} <= operations
    assert all((*NOT_CALLED.values(), *NOT_CHECKED.values()))


async def test_the_answer_to_an_upgrade_has_the_headers_that_are_described(database_url: str) -> None:
    upgraded = description()["paths"]["/api/v1/ws"]["get"]["responses"]["101"]
    async with live_server(database_url) as live, connected(live.port) as connection:
        connection.send(f"GET /api/v1/ws HTTP/1.1\r\nHost: h\r\n{UPGRADE}{RPC}\r\n".encode())
        response = await connection.receive(body=False)
    assert response.status == 101
    assert {name for name, _ in response.headers} - {"date"} == {name.lower() for name in upgraded["headers"]}


def test_the_page_for_operators_leads_to_the_description() -> None:
    assert "](openapi.yaml)" in (ROOT / "docs" / "operations.md").read_text()
