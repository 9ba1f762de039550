"""Table of families, dashboard and alert rules name what a running server tells, and nothing else."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import yaml  # type: ignore[import-untyped]  # it has no types

from less_sync.bins.admin.counts import FEDERATION
from less_sync.federation.peer_urls import PEER_PATH
from less_sync.sync.http.socket import CLIENT_PATH
from less_sync.sync.limits import Limits
from tests.bins.admin.promql import Names, names_in
from tests.bins.admin.scrape import ROLE, Scrape, look
from tests.federation.inbound.peer_client import home_server
from tests.sync.raw_http import connected
from tests.sync.session.test_session import change

ROOT: Final = Path(__file__).resolve().parents[3]
MONITORING: Final = ROOT / "examples" / "monitoring"
PAGE: Final = (ROOT / "docs" / "operations.md").read_text()
OF_THE_TARGET: Final = {"instance", "job"}
"""Labels that Prometheus adds to every series that it scrapes."""
UP: Final = "up"
"""The one series that Prometheus makes by itself."""
PARTS: Final = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table of families."""

    type: str
    labels: frozenset[str]


def section(number: str) -> str:
    """The text of one section of the page."""
    found = re.search(rf"^### {re.escape(number)} .*?(?=^###? )", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[0]


def table() -> dict[str, Row]:
    """The families as the page has them."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", section("13.1"), re.MULTILINE)
    assert len(rows) == len({name for name, _, _ in rows})
    return {name: Row(of, frozenset(re.findall(r"`(\w+)`", labels))) for name, of, labels in rows}


def dashboard() -> list[str]:
    """Every expression of the dashboard, with its variables filled in."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend([value["expr"]] if "expr" in value else [])
            for one in value.values():
                walk(one)
        elif isinstance(value, list):
            for one in value:
                walk(one)

    walk(json.loads((MONITORING / "grafana-dashboard.json").read_text()))
    return [re.sub(r"\$\w+", "1m", one) for one in found]


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    [group] = yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def expressions() -> Iterator[tuple[str, Names]]:
    """All there are, with what they name."""
    for one in (*dashboard(), *(rule["expr"] for rule in rules())):
        yield one, names_in(one)


@pytest.fixture
async def told(database_url: str) -> Scrape:
    """What a server tells to which most of it has happened."""
    async with home_server(database_url, limits=Limits(connections_per_mailbox=1)) as home:
        client = await home.live.connect()
        await client.subscribe()
        await client.push(change())
        await client.pull()
        assert (await (await home.live.connect()).closed()).code == 4003
        async with connected(home.live.port) as connection:
            connection.send(f"GET /{uuid4()} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
            assert (await connection.receive()).status == 401
        peer = await home.peer()
        assert (await peer.error("?", {}))[0] == "method_not_found"
        return look(home.live)


async def test_the_table_has_every_family_with_its_type_and_labels_and_no_other(told: Scrape) -> None:
    rows = table()
    assert {name: row.type for name, row in rows.items()} == told.types
    for name, row in rows.items():
        labels = told.labels(name + PARTS[row.type][-1])
        assert labels in (set(), {*ROLE, *row.labels}), name
    shown = {name for name, row in rows.items() if told.labels(name + PARTS[row.type][-1])}
    assert len(shown) > len(rows) / 2
    for _, family, label, _ in FEDERATION.values():
        assert rows[family].labels == {label}


async def test_every_series_of_dashboard_and_alerts_is_one_of_a_running_server(told: Scrape) -> None:
    known = {UP: {*ROLE, *OF_THE_TARGET}}
    for name, row in table().items():
        assert name in told.types
        for part in PARTS[row.type]:
            le = {"le"} if part == "_bucket" else set()
            known[name + part] = {*ROLE, *OF_THE_TARGET, *row.labels, *le}
    for expression, names in expressions():
        assert names.metrics, expression
        assert names.metrics <= known.keys(), expression
        for metric, labels in names.selected:
            assert labels <= known[metric], expression
            assert ROLE.keys() <= labels, expression
        assert names.grouped <= set[str]().union(*(known[metric] for metric in names.metrics)), expression


def test_the_dashboard_shows_every_family_that_may_need_looking_at() -> None:
    shown = {metric for one in dashboard() for metric in names_in(one).metrics}
    missing = {name for name, row in table().items() if not shown & {name + part for part in PARTS[row.type]}}
    assert missing == {"process_virtual_memory_bytes", "python_info"}


def test_of_several_servers_the_one_with_the_oldest_backup_is_shown() -> None:
    [shown] = [one for one in dashboard() if "less_sync_last_backup_timestamp_seconds" in one]
    assert shown.startswith("time() - min(")


def test_panels_have_places_and_numbers_of_their_own() -> None:
    page = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    panels = page["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(squares)) == len(squares)
    assert max(x for x, _ in squares) == 23
    variables = {variable["name"] for variable in page["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(page)))
    assert used - {"__rate_interval"} == variables


def test_every_alert_says_what_it_means_and_the_page_says_what_to_do() -> None:
    named = [rule["alert"] for rule in rules()]
    assert named == re.findall(r"^\| `(LessSync\w+)`", section("13.2"), re.MULTILINE)
    for rule in rules():
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert all(rule["annotations"][name] for name in ("summary", "description"))
        used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        names = names_in(rule["expr"])
        by = names.grouped or {label for one in names.metrics - {UP} for label in table()[one].labels}
        assert used <= {*OF_THE_TARGET, *by}, rule["alert"]


def test_refused_handshakes_are_compared_with_all_attempts_and_not_with_those_that_went_well() -> None:
    [expression] = [rule["expr"] for rule in rules() if rule["alert"] == "LessSyncHandshakesRefused"]
    refused, attempts = expression.split(" / ")
    [route] = re.findall(r'route=~"([^"]+)"', attempts)
    assert all(re.fullmatch(route, path) for path in (CLIENT_PATH.decode(), PEER_PATH))
    assert "code" not in attempts
    assert names_in(refused).metrics == {"less_sync_handshake_refusals_total"}


def test_the_scrape_configuration_gives_the_role_to_the_target_and_takes_that_of_the_server() -> None:
    scraping = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    [job] = scraping["scrape_configs"]
    assert job["honor_labels"] is True
    assert [one["labels"] for one in job["static_configs"]] == [ROLE]
    assert [(MONITORING / name).is_file() for name in scraping["rule_files"]] == [True]


@pytest.mark.parametrize(
    ("expression", "metrics", "labels", "grouped"),
    [
        ("up == 0", {"up"}, set(), set()),
        ('rate(a_total{b="c",d!~"e{f}"}[5m])', {"a_total"}, {"b", "d"}, set()),
        ("sum by (le, x) (rate(a_bucket[1m])) / sum(b) > 0.5", {"a_bucket", "b"}, set(), {"le", "x"}),
        ('a{x="1"} or b unless on (y) c offset 5m', {"a", "b", "c"}, {"x"}, {"y"}),
        ("time() - max without (z) (a)", {"a"}, set(), {"z"}),
    ],
)
def test_names_are_found_in_expressions(
    expression: str, metrics: set[str], labels: set[str], grouped: set[str]
) -> None:
    found = names_in(expression)
    assert (found.metrics, set(found.grouped)) == (metrics, grouped)
    assert set[str]().union(*(labels for _, labels in found.selected)) == labels
