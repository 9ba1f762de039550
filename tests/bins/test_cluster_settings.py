"""Settings of several processes and nodes: what is read, every refusal, and that no password is told."""

from pathlib import Path

import pytest

from less_sync.bins.settings.cluster import BUS_SERVERS_MAX, REPLICAS_MAX, BusSettings, ClusterSettings
from less_sync.bins.settings.shown import rows
from tests.bins.environments import NEEDED, problem, problems, read


def bus(**env: str) -> BusSettings:
    found = read(**env).cluster.bus
    assert found is not None
    return found


def test_without_them_a_server_is_alone() -> None:
    assert read().cluster == ClusterSettings(1, None, None, ())
    blank = dict.fromkeys(("WORKERS", "NODE_NAME", "NATS_URL", "NATS_CA_FILE", "REPLICA_DATABASE_URL"), " ")
    assert read(**blank).cluster == ClusterSettings(1, None, None, ())


def test_they_are_read() -> None:
    cluster = read(
        WORKERS="4",
        NODE_NAME=" node-1.example ",
        NATS_URL="TLS://a.example:4333, tls://u:p%2Cw@[::1] ",
        NATS_CA_FILE="/etc/nats/ca.pem",
        NATS_PREFIX="staging",
        REPLICA_DATABASE_URL="postgres://r1/sync postgres://r2/sync",
    ).cluster
    assert (cluster.workers, cluster.node_name, len(cluster.replicas)) == (4, "node-1.example", 2)
    assert cluster.bus == BusSettings(
        ("tls://a.example:4333", "tls://u:p%2Cw@[::1]"), None, Path("/etc/nats/ca.pem"), "staging"
    )


def test_a_plain_nats_and_a_credentials_file_are_read() -> None:
    found = bus(NATS_URL="nats://localhost", NATS_CREDENTIALS_FILE="/run/secrets/bus.creds")
    assert found == BusSettings(("nats://localhost",), Path("/run/secrets/bus.creds"), None, "less-sync")


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"WORKERS": "0"}, "WORKERS must be greater than zero"),
        ({"WORKERS": "65"}, "WORKERS must not exceed 64"),
        ({"WORKERS": "two"}, 'invalid WORKERS value "two": invalid digit found in string'),
        (
            {"NODE_NAME": "a b"},
            "invalid NODE_NAME value \"a b\": letters, digits, '.', '_' and '-', at most 63",
        ),
        (
            {"NODE_NAME": ".a"},
            "invalid NODE_NAME value \".a\": letters, digits, '.', '_' and '-', at most 63",
        ),
        (
            {"NATS_PREFIX": "a.>"},
            "invalid NATS_PREFIX value \"a.>\": letters, digits, '_' and '-', at most 32",
        ),
        ({"NATS_CA_FILE": "/ca"}, "NATS_CREDENTIALS_FILE and NATS_CA_FILE need NATS_URL"),
        ({"NATS_CREDENTIALS_FILE": "/c"}, "NATS_CREDENTIALS_FILE and NATS_CA_FILE need NATS_URL"),
        ({"NATS_URL": "nats://h", "NATS_CA_FILE": "/ca"}, "NATS_CA_FILE needs tls:// in NATS_URL"),
        (
            {"NATS_URL": "nats://u:p@h", "NATS_CREDENTIALS_FILE": "/c"},
            "NATS_CREDENTIALS_FILE and a user in NATS_URL exclude each other",
        ),
        (
            {"NATS_URL": "tls://a nats://b"},
            "NATS_URL must not mix tls:// and nats://: news would travel in clear",
        ),
        (
            {"NATS_URL": " ".join(["nats://h"] * (BUS_SERVERS_MAX + 1))},
            "NATS_URL names more than 16 servers",
        ),
        (
            {"REPLICA_DATABASE_URL": " ".join(["postgres://h/d"] * (REPLICAS_MAX + 1))},
            "REPLICA_DATABASE_URL names more than 16 databases",
        ),
    ],
)
def test_each_mistake_is_told(env: dict[str, str], text: str) -> None:
    assert problem(**env) == text


@pytest.mark.parametrize(
    "url",
    [
        *("localhost:4222", "http://h", "ws://h", "nats://", "nats://:4222", "nats://@h", "nats://h:0"),
        *("nats://h:99999", "nats://h:x", "nats://h/", "nats://h/x", "nats://h?x=1", "nats://h#x"),
        *("nats://[::1", "nats://u:hunter2/x@h", "nats://u:22#hunter2@h", "nats://u:22?hunter2@h"),
    ],
)
def test_what_is_no_address_of_a_nats_is_refused_by_its_number(url: str) -> None:
    assert problem(NATS_URL=f"nats://good {url}") == (
        "invalid NATS_URL entry 2: expected tls://host:port or nats://host:port, with what is special in a "
        "password escaped (a comma as %2C)"
    )


@pytest.mark.parametrize("password", ["hunter 2", "hunter,2", "hunter/2", "hunter#2", "hunter?2", "2,hunter"])
def test_no_part_of_a_password_is_told_when_it_was_not_escaped(password: str) -> None:
    found = problems(
        NEEDED
        | {"NATS_URL": f"nats://u:{password}@h:1", "REPLICA_DATABASE_URL": f"postgres://u:{password}@h:1/d"}
    )
    assert found
    assert not [text for text in found if "hunter" in text]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("tls://u:hunter2@h:4222", "tls://u:***@h:4222"),
        ("nats://hunter2@h, nats://u:hunter=2@i", "nats://***@h nats://u:***@i"),
        ("nats://u:hunter@2@h", "nats://u:***@h"),
    ],
)
def test_a_password_and_a_token_are_masked(url: str, shown: str) -> None:
    settings = read(NATS_URL=url, REPLICA_DATABASE_URL="postgres://u:hunter2@r/d?password=hunter2")
    texts = {row.name: row.value for row in rows(settings)}
    assert texts["NATS_URL"] == shown
    assert "hunter" not in str(texts) + repr(settings)


@pytest.mark.parametrize(
    ("workers", "given", "node", "share"),
    [
        ("1", {}, (10, 2), None),
        ("2", {}, (10, 6), (3, 2)),
        ("8", {}, (27, 18), (3, 2)),
        ("2", {"DATABASE_MAX_CONNECTIONS": "6", "PUSH_LANES": "3"}, (6, 3), (2, 1)),
        ("64", {}, (195, 130), (3, 2)),
        ("1", {"DATABASE_MAX_CONNECTIONS": "1", "PUSH_LANES": "1"}, (1, 1), None),
    ],
)
def test_connections_are_of_all_workers_and_one_more_fits(
    workers: str, given: dict[str, str], node: tuple[int, int], share: tuple[int, int] | None
) -> None:
    database = read(WORKERS=workers, **given).database
    assert (database.connections_max, database.push_lanes) == node
    if share is not None:
        each = database.share(int(workers))
        assert (each.connections_max, each.push_lanes) == share
        assert (int(workers) + 1) * each.connections_max <= database.connections_max
        assert (int(workers) + 1) * each.push_lanes <= database.push_lanes


def test_what_other_nodes_would_not_hear_is_a_warning() -> None:
    quiet = {"IDENTITY_HASH_KEY": "ab" * 32, "AUDIENCES": "less-sync"}
    above = {"LIMIT_EVENT_BYTES": "261121", "LIMIT_PRESENCE_BYTES": "261121"}
    assert read(**quiet, **above).warnings() == []
    for cluster in ({"WORKERS": "2"}, {"NATS_URL": "nats://127.0.0.1"}):
        assert read(**quiet, **cluster, **dict.fromkeys(above, "261120")).warnings() == []
        assert read(**quiet, **cluster, **above).warnings() == [
            f"{name} is above what goes from one process to another, 261120 bytes" for name in above
        ]
