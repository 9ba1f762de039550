"""What the parts of the server have counted, as families of metrics (docs/operations.md 13.1)."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from prometheus_client.metrics_core import Metric

from less_sync.bins.admin.families import Make, Values, by, by_name, counter, gauge, histogram, one
from less_sync.bins.replicas import MEASURED as REPLICAS
from less_sync.storage import PostgresPool, PushLanes
from less_sync.sync.live.measured import BUS, NEWS
from less_sync.sync.metrics import INTERNAL, OK, Recorder
from less_sync.sync.services import Services

if TYPE_CHECKING:
    # Loaded where something reports alone.
    from less_sync.fleet.reporter.reporter import Standing

OUTCOMES: Final = ("served", "behind", "away", "cancelled", "stranger")
"""Of a pull that a replica was asked for."""
_ALWAYS: Final = (OK, INTERNAL)
"""Outcomes of which a method has series from its first request on: a rate wants to have seen the zero."""

FEDERATION: Final[dict[str, tuple[Make, str, str, str]]] = {
    "peer_connections": (
        gauge,
        "less_sync_federation_peer_connections",
        "peer",
        "Connections a peer has open here.",
    ),
    "peer_spaces": (
        gauge,
        "less_sync_federation_peer_spaces",
        "peer",
        "Subscriptions of a peer, as its quota counts them.",
    ),
    "peer_records_this_hour": (
        gauge,
        "less_sync_federation_peer_hour_records",
        "peer",
        "Records a peer has pushed in its hour.",
    ),
    "peer_bytes_this_hour": (
        gauge,
        "less_sync_federation_peer_hour_bytes",
        "peer",
        "Bytes a peer has pushed in its hour.",
    ),
    "peer_invitations_this_hour": (
        gauge,
        "less_sync_federation_peer_hour_invitations",
        "peer",
        "Invitations a peer has left in its hour.",
    ),
    "peer_refusals": (
        counter,
        "less_sync_federation_quota_refusals_total",
        "quota",
        "What peers were refused because a quota was used up.",
    ),
    "peer_pulled_bytes": (
        counter,
        "less_sync_federation_peer_pulled_bytes_total",
        "peer",
        "Bytes of chunks that a peer has pulled.",
    ),
    "link_open": (
        gauge,
        "less_sync_federation_link_open",
        "home",
        "1 while the link to another server is open, 0 while it is wanted and is not. No series: not wanted.",
    ),
    "link_opened": (
        counter,
        "less_sync_federation_links_opened_total",
        "home",
        "How often the link to another server was opened.",
    ),
    "link_spaces": (
        gauge,
        "less_sync_federation_link_spaces",
        "home",
        "Spaces that sessions here use over the link.",
    ),
    "relayed_rows": (
        counter,
        "less_sync_federation_relayed_rows_total",
        "home",
        "Rows of pulls that were passed on from another server.",
    ),
    "relayed_bytes": (
        counter,
        "less_sync_federation_relayed_bytes_total",
        "home",
        "Bytes of pulls that were passed on from another server.",
    ),
}
"""What the federation measures: kind, family, label, meaning."""

OF_BUS: Final[dict[str, tuple[Callable[[str, str, Values], Metric], str, str]]] = {
    "subjects": (gauge, "less_sync_bus_subjects", "Subjects of the bus that are listened to."),
    "published": (counter, "less_sync_bus_published_total", "Messages handed to the bus."),
    "received": (counter, "less_sync_bus_received_total", "Messages that came from the bus."),
    "dropped": (
        counter,
        "less_sync_bus_dropped_total",
        "Messages that were not sent: the bus was away, too many waited, or one was too long.",
    ),
    "reconnects": (
        counter,
        "less_sync_bus_reconnects_total",
        "How often the connection to the bus was there again.",
    ),
}
OF_NEWS: Final[dict[str, tuple[Callable[[str, str, Values], Metric], str, str]]] = {
    "filled": (
        counter,
        "less_sync_news_gaps_filled_total",
        "Gaps in what other nodes told that were read from the database.",
    ),
    "late": (counter, "less_sync_news_late_total", "Commits heard of that had been told already."),
    "behind": (
        counter,
        "less_sync_news_behind_total",
        "Spaces that a comparison with the database found to be further than was told.",
    ),
    "nodes": (gauge, "less_sync_nodes_known", "Other nodes that give signs of life."),
}
"""What is measured of the bus and of news (`sync/live/measured.py`): kind, family, meaning."""


class WorkerCounts(NamedTuple):
    """What a supervisor knows of its workers."""

    states: Mapping[str, int]
    """How many answer, are silent, or are missing."""
    restarts: int


def of_sessions(services: Services) -> Iterator[Metric]:
    """Who is connected, who was not let in, and how sessions end."""
    recorder, sessions = services.metrics, services.sessions
    yield gauge(
        "less_sync_connections",
        "Open WebSockets: of clients, of other servers, of those who have not said yet who they are.",
        by({**recorder.connections, "unauthenticated": sessions.unauthenticated}),
        "kind",
    )
    yield counter(
        "less_sync_handshake_refusals_total",
        "Connections that were not let in: by the HTTP status, or by what the close frame said.",
        by(recorder.refusals),
        "reason",
    )
    yield counter(
        "less_sync_closes_total",
        "Sessions that ended, by the code they were closed with; none: the other end closed or was lost.",
        by(recorder.closes),
        "code",
    )
    yield counter(
        "less_sync_slow_consumers_total",
        "Sessions closed with 4006: too many notifications waited for them.",
        one(recorder.slow_consumers),
    )
    yield gauge("less_sync_spaces_subscribed", "Spaces that anybody listens to.", one(services.broker.spaces))
    yield counter(
        "less_sync_notifications_delivered_total",
        "Notifications handed to sessions.",
        one(services.broker.delivered + services.mailboxes.delivered),
    )
    yield counter(
        "less_sync_notifications_dropped_total",
        "Frames that waited for a session and were dropped with it, as its client pulls when it is back.",
        one(recorder.notifications_dropped),
    )


def of_traffic(services: Services) -> Iterator[Metric]:
    """What was asked, how it was answered, and what was carried."""
    recorder = services.metrics
    yield counter(
        "less_sync_rpc_total",
        "Answered requests over WebSockets, by method and error code.",
        {
            (method, code): number
            for method, counts in recorder.methods.items()
            for code, number in counts.codes.items()
            if number or code in _ALWAYS
        },
        "method",
        "code",
    )
    yield histogram(
        "less_sync_rpc_seconds",
        "From when a request was decoded until its answer was made.",
        {(method,): counts.seconds for method, counts in recorder.methods.items()},
        "method",
    )
    yield counter(
        "less_sync_http_requests_total",
        "Answered HTTP requests, by template of the route and status; 101 became a WebSocket.",
        recorder.http,
        "route",
        "code",
    )
    yield counter("less_sync_pull_rows_total", "Rows sent in answers to pull.", one(recorder.pull_rows))
    into, out = recorder.files_in, recorder.files_out
    yield counter(
        "less_sync_blob_transfers_total",
        "Contents of files that were taken in or given out whole.",
        by({"in": into.transfers, "out": out.transfers}),
        "direction",
    )
    yield counter(
        "less_sync_blob_bytes_total",
        "Bytes of contents of files, of those cut short too.",
        by({"in": into.size_bytes, "out": out.size_bytes}),
        "direction",
    )
    yield gauge(
        "less_sync_blob_removals_waiting",
        "Contents of deleted files that are still to be removed. No series: no file storage.",
        one(None if services.files is None else services.files.removals.pending),
    )
    keys = services.authenticator.keys
    yield counter(
        "less_sync_key_fetches_total",
        "Fetches of issuers' key sets, by outcome.",
        by(keys.fetches),
        "outcome",
    )
    yield gauge(
        "less_sync_key_set_failures",
        "Failed fetches of an issuer's key set since the last good one.",
        by_name(keys.failures),
        "issuer",
    )


def of_storage(pool: PostgresPool, lanes: PushLanes) -> Iterator[Metric]:
    """Push lanes and database pool."""
    yield gauge("less_sync_lane_waiting_pushes", "Pushes that are not answered yet.", one(lanes.waiting))
    yield gauge("less_sync_lane_waiting_bytes", "What those pushes weigh.", one(lanes.waiting_bytes))
    yield gauge(
        "less_sync_lanes",
        "Push lanes, by whether they have their connection to the database.",
        by({"connected": lanes.connected, "disconnected": lanes.size - lanes.connected}),
        "state",
    )
    yield counter(
        "less_sync_lane_refusals_total", "Pushes that there was no room for.", one(lanes.counts.refused)
    )
    yield histogram(
        "less_sync_lane_statement_pushes",
        "Pushes that went to the database in one statement.",
        {(): lanes.counts.pushes},
    )
    yield histogram(
        "less_sync_lane_statement_seconds",
        "From when a statement was sent until its result was here, flush and locks included.",
        {(): lanes.counts.seconds},
    )
    yield gauge(
        "less_sync_db_pool_connections_max", "Connections the pool may have.", one(pool.max_connections)
    )
    yield gauge("less_sync_db_pool_connections", "Connections the pool has open.", one(pool.connections))
    yield gauge("less_sync_db_pool_in_use", "Those of them that are in use.", one(pool.in_use))
    yield gauge("less_sync_db_pool_waiting", "Requests that wait for a connection.", one(pool.counts.waiting))
    yield counter(
        "less_sync_db_pool_failures_total",
        "How often no connection was had in time, or none could be opened.",
        one(pool.counts.failed),
    )


def of_federation(recorder: Recorder) -> Iterator[Metric]:
    """What other servers use here, and what is used of others. Without federation there are no series."""
    measured = recorder.measured()
    for name, (make, family, label, text) in FEDERATION.items():
        yield make(family, text, by_name(measured.get(name, {})), label)


def of_bus(recorder: Recorder) -> Iterator[Metric]:
    """What goes between this node and others. Without a bus there are no series."""
    bus, news = recorder.measured_of(BUS) or {}, recorder.measured_of(NEWS) or {}
    yield gauge(
        "less_sync_bus_connections",
        "Connections to the bus between nodes, by whether they are there. No series: there is no bus.",
        by({state: bus[state] for state in ("connected", "disconnected") if state in bus}),
        "state",
    )
    for counts, families in ((bus, OF_BUS), (news, OF_NEWS)):
        for name, (make, family, text) in families.items():
            yield make(family, text, one(counts.get(name)))


def of_replicas(recorder: Recorder) -> Iterator[Metric]:
    """What pulls have read from standbys. Without any there are no series."""
    counts = recorder.measured_of(REPLICAS) or {}
    yield gauge(
        "less_sync_replicas",
        "Replicas of the database, by whether pulls are read from them now. No series: there are none.",
        by({state: counts[state] for state in ("used", "left") if state in counts}),
        "state",
    )
    yield counter(
        "less_sync_replica_pulls_total",
        "Pulls that a replica was asked for: served, or why the primary was read.",
        by({outcome: counts[outcome] for outcome in OUTCOMES if outcome in counts}),
        "outcome",
    )
    yield counter(
        "less_sync_replica_continued_total",
        "Pulls that a replica began and the primary went on with.",
        one(counts.get("continued")),
    )


def of_workers(counts: WorkerCounts | None) -> Iterator[Metric]:
    """The processes of a server that has several; None: it has one."""
    yield gauge(
        "less_sync_workers",
        "Workers of this server, by whether they answer their supervisor. No series: it has none.",
        {} if counts is None else by(counts.states),
        "state",
    )
    yield counter(
        "less_sync_worker_restarts_total",
        "How often a worker was started anew after its predecessor had ended by itself.",
        one(None if counts is None else counts.restarts),
    )


def of_reporter(counts: "Standing | None") -> Iterator[Metric]:
    """The reporter to a fleet plane; None: there is none here."""
    yield gauge(
        "less_sync_reporter_connected",
        "1 while the fleet plane hears of this server. No series: nobody reports.",
        one(None if counts is None else int(counts.connected)),
    )
    yield counter(
        "less_sync_reporter_heartbeats_total",
        "Heartbeats that the fleet plane has taken.",
        one(None if counts is None else counts.beaten),
    )
    yield counter(
        "less_sync_reporter_failures_total",
        "Requests to the fleet plane that did not do what they should.",
        one(None if counts is None else counts.failed),
    )
    yield gauge(
        "less_sync_reporter_desired_version",
        "Always 1: the release that the fleet plane wants here. No series: it wants none.",
        by({} if counts is None or counts.desired_version is None else {counts.desired_version: 1}),
        "version",
    )
