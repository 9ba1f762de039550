"""docs/fleet-openapi.yaml says what a real plane does, and every route of it."""

import asyncio
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_network
from itertools import count
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from less_sync.fleet.api.app import all_routes, create_app
from less_sync.fleet.api.rights import RIGHTS, Who
from less_sync.fleet.api.routing import Router
from less_sync.fleet.errors import CODES
from less_sync.fleet.heartbeat_limit import HeartbeatLimit
from less_sync.fleet.reports import REPORT
from less_sync.fleet.settings import WebhookSettings
from less_sync.fleet.store.alerts import Alert, raise_alerts
from less_sync.fleet.store.events import TYPES
from tests.fleet.people import PASSWORD, cheap_passwords, employ, signed_in
from tests.fleet.rig import KEY, Fleet, open_fleet, registration, served

ROOT: Final = Path(__file__).resolve().parents[3]
PAGE: Final = ROOT / "docs" / "fleet-openapi.yaml"
EXAMPLES_MAX: Final = 2
"""Of each operation and each phase."""
GOOD: Final = ("2xx", "3xx", "401", "403", "404", "409", "429", "5xx")
"""Statuses that schemathesis lets a good request have."""
BAD: Final = ("400", "401", "403", "404", "405", "413", "415", "429")
"""Those that a bad one may have."""
SEED: Final = 17
SIGN_IN: Final = [f"carol-{n}" for n in range(8)]
"""Operators for the login alone: with wrong passwords one is soon locked."""
ROWS: Final = 6
"""Of each resource that there is at the beginning: some are read, some removed."""
RECEIVER: Final = "http://127.0.0.1:9009/hook"
VERSION: Final = "1.2.3"
RELEASE: Final = """
WITH made AS (INSERT INTO releases (version, sort_key, channel, status, created_by)
  VALUES ($1, '1', 'stable', 'published', 'test') RETURNING version)
INSERT INTO release_artifacts
  (id, version, os, arch, object_key, filename, size_bytes, sha256, manifest, signature, key_id,
   uploaded_at)
SELECT gen_random_uuid(), version, os, arch, os || arch, 'file', 1, sha256(''), '', sha512(''), 'k', now()
FROM made, unnest(ARRAY['linux', 'darwin', 'windows']) AS os, unnest(ARRAY['amd64', 'arm64']) AS arch"""

PUBLIC: Final = ("root", "pages", "page", "health", "login")
NOT_CHECKED: Final[Mapping[tuple[str, str], str]] = {
    **{
        (operation, "unsupported_method"): "without credentials a method that is none is 401 before it is 405"
        for operation in PUBLIC
    },
}
"""Checks that the contract contradicts, by operation, with the reason."""


_GONE: Final = {410: "an agent that another request has retired is gone, whatever the request says"}
_NUMBERS: Final = {
    400: "members that nobody knows may be anything but numbers beyond 2^53 and texts with NUL"
}
ACCEPTED: Final[Mapping[str, Mapping[int, str]]] = {
    **dict.fromkeys(("changeAgent", "retireAgent", "rotateToken"), _GONE),
    "register": _NUMBERS,
    "heartbeat": {**_GONE, **_NUMBERS},
    "listAgents": {400: "no schema can say that two labels of one key contradict, or what is printable"},
    "createUser": {400: "no schema can say that a password must not contain the username beside it"},
}
"""Statuses by which a request is refused that the description calls good, by operation, with the reason."""


def description() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(PAGE.read_text())
    return document


def operations(document: Mapping[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """By method and path."""
    return {
        (method.upper(), path): operation
        for path, described in document["paths"].items()
        for method, operation in described.items()
        if method != "parameters"
    }


_OPERATORS: Final = ["managementKey", "managementKeyHeader", "session"]
CREDENTIALS: Final[Mapping[Who, list[str]]] = {
    Who.EVERYBODY: [],
    Who.REGISTRATION: ["enrolmentToken", "agentToken", *_OPERATORS],
    Who.OWN_AGENT: ["agentToken"],
    Who.OWN_OR_VIEWER: ["agentToken", *_OPERATORS],
    Who.SESSION: ["session"],
    **dict.fromkeys((Who.VIEWER, Who.OPERATOR, Who.ADMIN), _OPERATORS),
}


class Witness:
    """The application, to which each request comes from another address; notes what was answered to whom.

    Else failed attempts would be counted, and all others refused after ten.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._router = Router(all_routes())
        self._addresses = count(int(IPv4Address("10.0.0.1")))
        self.answered: defaultdict[tuple[str, str], Counter[int]] = defaultdict(Counter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        place, _ = self._router.find(scope["path"])

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start" and place is not None:
                self.answered[scope["method"], place.path][message["status"]] += 1
            await send(message)

        client = (str(IPv4Address(next(self._addresses))), 1)
        await self._app({**scope, "client": client}, receive, noting)


@dataclass(slots=True)
class Known:
    """What is there at the beginning, by the name of its parameter: ids that stay, and ids to be removed."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    agent: str = ""
    agent_token: str = ""
    enrolment_token: str = ""
    session: str = ""
    csrf: str = ""
    last_session: str = ""
    last_csrf: str = ""
    cursor: str = ""
    audit_cursor: str = ""


async def furnished(fleet: Fleet) -> Known:
    known = Known()
    made = [
        (
            await fleet.client.post("/management/v1/agents/register", json=registration(name=f"sync-{n}"))
        ).json()
        for n in range(ROWS)
    ]
    known.ids["agent_id"] = [one["agent_id"] for one in made]
    known.agent, known.agent_token = made[0]["agent_id"], made[0]["token"]
    tokens = [
        (
            await fleet.client.post(
                "/management/v1/enrolment-tokens", json={"label": "rack 7", "max_uses": 10_000}
            )
        ).json()
        for _ in range(ROWS)
    ]
    known.ids["token_id"] = [one["enrolment_token"]["id"] for one in tokens]
    known.enrolment_token = tokens[0]["token"]
    async with fleet.plane.database.transaction() as connection:
        alerts = [Alert("agent.disk", "warning", "agent", str(uuid4()), "disk full") for _ in range(ROWS)]
        known.ids["alert_id"] = [str(row["id"]) for row in await raise_alerts(connection, alerts)]
    hooks = [
        (await fleet.client.post("/management/v1/webhooks", json={"url": RECEIVER, "events": ["*"]})).json()
        for _ in range(ROWS)
    ]
    known.ids["webhook_id"] = [one["webhook"]["id"] for one in hooks]
    tests = [
        (await fleet.client.post(f"/management/v1/webhooks/{hook}/test")).json()
        for hook in known.ids["webhook_id"]
    ]
    known.ids["delivery_id"] = [one["delivery_id"] for one in tests]
    known.cursor, known.audit_cursor = [
        (await fleet.client.get(path, params={"limit": 1})).json()["next_cursor"]
        for path in ("/management/v1/agents", "/platform/v1/audit")
    ]
    await fleet.execute(RELEASE, VERSION)
    for name in ("alice", *SIGN_IN):
        await employ(fleet, name)
    known.ids["user_id"] = [await employ(fleet, f"bob-{n}", "viewer") for n in range(ROWS)]
    first, last = await signed_in(fleet, "alice"), await signed_in(fleet, "alice")
    known.session, known.csrf = first.cookie, first.csrf
    known.last_session, known.last_csrf = last.cookie, last.csrf
    return known


def about(known: Known) -> dict[str, Any]:
    """The description, in which most ids are of what there is, and URLs, names and passwords good ones."""
    document = deepcopy(description())
    parameters, schemas = document["components"]["parameters"], document["components"]["schemas"]
    for name, ids in known.ids.items():
        stay, go = ids[: ROWS // 2], ids[ROWS // 2 :]
        own = parameters[name]
        for (method, path), operation in operations(document).items():
            if "{" + name + "}" not in path:
                continue
            there = go if method == "DELETE" or path.endswith("/resolve") else stay
            if operation["operationId"] == "heartbeat":
                there = [known.agent]
            schema = {"anyOf": [{"enum": there}, own["schema"]]}
            operation.setdefault("parameters", []).append({**own, "schema": schema})
    parameters["file"]["schema"] = {"anyOf": [{"enum": ["fleet.css", "index.html"]}, {"type": "string"}]}
    schemas["WebhookUrl"] = {"enum": [RECEIVER, RECEIVER + "?again"]}
    parameters["cursor"]["schema"] = {"enum": [known.cursor]}
    audit = operations(document)["GET", "/platform/v1/audit"]["parameters"]
    audit[1] = {**parameters["cursor"], "schema": {"enum": [known.audit_cursor]}}
    schemas["AgentChange"]["properties"]["desired_version"] = {"enum": [VERSION, None]}
    login = schemas["Login"]["properties"]
    login["username"], login["password"] = {"enum": [*SIGN_IN]}, {"enum": [PASSWORD]}
    new = schemas["NewUser"]["properties"]
    new["password"] = {"anyOf": [{"enum": [PASSWORD]}, new["password"]]}
    # A session that ends by it is not the one that another operation shows.
    document["components"]["securitySchemes"]["lastSession"] = document["components"]["securitySchemes"][
        "session"
    ]
    document["paths"]["/platform/v1/auth/logout"]["post"]["security"] = [{"lastSession": []}]
    parameters["X-CSRF-Token"]["schema"] = {"enum": [known.last_csrf]}
    return document


def configuration(known: Known) -> str:
    """What schemathesis is told beyond its command line."""
    lines = [
        "[auth.openapi]",
        f'managementKey = {{bearer = "{KEY}"}}',
        f'managementKeyHeader = {{api_key = "{KEY}"}}',
        f'agentToken = {{bearer = "{known.agent_token}"}}',
        f'enrolmentToken = {{bearer = "{known.enrolment_token}"}}',
        f'session = {{api_key = "{known.session.partition("=")[2]}"}}',
        f'lastSession = {{api_key = "{known.last_session.partition("=")[2]}"}}',
        # Else nobody would be made whose name was not told before.
        "[phases.coverage]",
        "extra-data-sources.responses = false",
        # The others are tried in the walk of the table of rights.
        'unexpected-methods = ["DELETE", "PUT"]',
    ]
    checks: defaultdict[str, list[str]] = defaultdict(list)
    for operation, check in NOT_CHECKED:
        checks[operation].append(check)
    for operation, names in checks.items():
        lines += ["[[operations]]", f'include-operation-id = ["{operation}"]']
        lines += [f"checks.{name}.enabled = false" for name in names]
    for operation, reasons in ACCEPTED.items():
        statuses = [*GOOD, *map(str, reasons)]
        lines += ["[[operations]]", f'include-operation-id = ["{operation}"]']
        lines += [f"checks.positive_data_acceptance.expected-statuses = {statuses}"]
        if reasons.keys() & {410}:
            lines += [f"checks.negative_data_rejection.expected-statuses = {[*BAD, '410']}"]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "tags", [("agents",), ("enrolment", "alerts", "webhooks"), ("operators", "plane")], ids=" ".join
)
async def test_the_plane_does_as_its_description_says(
    fleet_database_url: str, tmp_path: Path, tags: tuple[str, ...]
) -> None:
    webhooks = WebhookSettings(allow_http=True, allow_networks=(ip_network("127.0.0.0/8"),))
    async with open_fleet(fleet_database_url, webhooks=webhooks) as fleet:
        cheap_passwords(fleet)
        later = count(step=3600)
        fleet.plane.heartbeat_limit = HeartbeatLimit(lambda: next(later))
        known = await furnished(fleet)
        (tmp_path / "schemathesis.toml").write_text(configuration(known))
        (tmp_path / "openapi.json").write_text(json.dumps(about(known)))
        witness = Witness(create_app(fleet.plane))
        async with served(witness) as url:
            run = await asyncio.create_subprocess_exec(
                Path(sys.executable).with_name("schemathesis"),
                *("run", "openapi.json", "--url", url, "--warnings", "off", "--no-color"),
                *("--seed", str(SEED), "--max-examples", str(EXAMPLES_MAX), "--continue-on-failure"),
                *(f"--include-tag={tag}" for tag in tags),
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await run.communicate()
        assert run.returncode == 0, output.decode()
    good = {place for place, statuses in witness.answered.items() if min(statuses) < 400}
    asked = {place for place, told in operations(description()).items() if set(told["tags"]) & set(tags)}
    assert asked - good == set()


def test_operations_and_rights_are_those_of_the_table() -> None:
    described = operations(description())
    assert {place: told["x-who"] for place, told in described.items()} == {
        place: who.name.lower() for place, who in RIGHTS.items()
    }
    assert described.keys() == {(route.method, route.path) for route in all_routes()}


def test_each_operation_takes_the_credentials_of_who_may_call_it() -> None:
    document = description()
    for place, told in operations(document).items():
        taken = [scheme for one in told.get("security", document["security"]) for scheme in one]
        assert taken == CREDENTIALS[RIGHTS[place]], place


def test_every_path_parameter_is_described_and_every_error_has_its_code() -> None:
    document = description()
    for (_, path), told in operations(document).items():
        named = re.findall(r"\{(\w+)\}", path)
        listed = document["paths"][path].get("parameters", [])
        assert [one["$ref"].rpartition("/")[2] for one in listed] == named
        assert told["operationId"]
    for name, response in document["components"]["responses"].items():
        code = response["content"]["application/json"]["schema"]["properties"]["code"]
        assert code.keys() <= {"const", "enum"}, name
        assert set(code.get("enum", [code.get("const")])) <= {*CODES.values(), "invalid_json"}, name


def test_the_report_is_the_one_that_agents_may_send() -> None:
    schemas = description()["components"]["schemas"]
    for name in ("Report", "ReportTold"):
        assert list(schemas[name]["properties"]) == list(REPORT)
    assert schemas["EventType"]["enum"] == list(TYPES)


def test_what_is_not_checked_is_there_and_has_a_reason() -> None:
    there = {told["operationId"] for told in operations(description()).values()}
    assert len(there) == len(RIGHTS)
    assert {*(operation for operation, _ in NOT_CHECKED), *ACCEPTED} <= there
    assert all((*NOT_CHECKED.values(), *(reason for one in ACCEPTED.values() for reason in one.values())))
