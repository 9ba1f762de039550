"""Every setting of the fleet plane: defaults, forms, exact messages, and the page that lists them."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from less_sync.bins.settings.config import AdminSettings, ConfigError, LogSettings, Settings
from less_sync.bins.settings.fleet import FleetServer, fleet_settings
from less_sync.bins.settings.parts import DEV_ADMIN_ADDRESS, ListenAddress
from less_sync.bins.settings.slips import one_slip_apart
from less_sync.fleet.settings import FleetSettings, HealthSettings, RetentionSettings, WebhookSettings

ROOT = Path(__file__).parents[2]
KEY = "k" * 32
SECRET = "ab" * 32
NEEDED = {
    "DATABASE_URL": "postgres://db/fleet",
    "MANAGEMENT_KEY": KEY,
    "FLEET_SECRET_KEY": SECRET,
    "FLEET_PUBLIC_URL": "https://fleet.example.com",
}


def read(**env: str) -> FleetServer:
    return fleet_settings(NEEDED | env)


def problems(env: dict[str, str]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        fleet_settings(env)
    return caught.value.problems


def problem(**env: str) -> str:
    (message,) = problems(NEEDED | env)
    return message


def test_defaults_are_the_documented_ones() -> None:
    found = read()
    assert (found.dev, found.database_url, found.data_dir) == (
        False,
        "postgres://db/fleet",
        Path("data/fleet"),
    )
    assert found.listen == ListenAddress("0.0.0.0", 5380)
    assert found.admin == AdminSettings(None, None, None)
    assert (found.log, found.shutdown_grace_s, found.warnings) == (LogSettings("info", "text"), 8, ())
    assert found.plane == FleetSettings(
        public_url="https://fleet.example.com",
        management_keys=(KEY,),
        secret_keys=(bytes.fromhex(SECRET),),
        schema="less_sync_fleet",
        database_connections_max=10,
        cors_origins=(),
        heartbeat_interval_s=60,
        heartbeat_sample_s=300,
        request_timeout_s=30,
        session_idle_minutes=60,
        session_max_hours=168,
        trusted_proxies=(),
        webhooks=WebhookSettings(5, 20, 15, False, ()),
        health=HealthSettings(30, 3.0, 10.0),
        retention=RetentionSettings(7, 30, 90),
    )


def test_without_any_setting_everything_that_is_missing_is_made() -> None:
    found = fleet_settings({})
    assert (found.dev, found.database_url) == (True, None)
    assert found.listen == ListenAddress("127.0.0.1", 5380)
    assert found.admin.listen == DEV_ADMIN_ADDRESS
    assert (found.plane.management_keys, found.plane.secret_keys) == (("",), (b"",))
    assert found.plane.public_url == ""
    previous = {"MANAGEMENT_KEY_PREVIOUS": KEY, "FLEET_SECRET_KEY_PREVIOUS": SECRET}
    rotated = fleet_settings(previous).plane
    assert (rotated.management_keys, rotated.secret_keys) == (("", KEY), (b"", bytes.fromhex(SECRET)))
    assert found.warnings == ()


def test_what_is_needed_beside_a_database_is_told_at_once_and_in_order() -> None:
    assert problems({"DATABASE_URL": "postgres://db/fleet"}) == [
        "MANAGEMENT_KEY must be set",
        "FLEET_SECRET_KEY must be set",
        "FLEET_PUBLIC_URL must be set",
    ]


def test_all_problems_are_told_at_once_in_the_order_of_the_page() -> None:
    wrong = {
        "DATABASE_URL": "localhost/fleet",
        "PORT": "65536",
        "MANAGEMENT_KEY": "short",
        "CORS_ORIGINS": "example.com",
        "LOG_LEVEL": "loud",
        "SIGNED_URL_TTL_MINUTES": "0",
        "HEARTBEAT_INTERVAL_SECONDS": "4",
        "HEALTH_CHECK_INTERVAL_SECONDS": "3601",
        "STALE_THRESHOLD_MULTIPLIER": "1.4",
        "INACTIVE_THRESHOLD_MULTIPLIER": "1",
        "WEBHOOK_WORKER_INTERVAL_SECONDS": "0",
        "WEBHOOK_WORKER_BATCH_SIZE": "501",
        "FLEET_SECRET_KEY": "abc",
        "FLEET_PUBLIC_URL": "fleet.example.com",
        "DATA_DIR": "",
    }
    levels = '"off", "error", "warn", "info", "debug", "trace"'
    assert problems(wrong) == [
        "database error: error with configuration: relative URL without a base",
        "PORT must be between 0 and 65535",
        "MANAGEMENT_KEY must be at least 32 characters",
        'invalid CORS_ORIGINS entry "example.com": expected an origin',
        f'invalid LOG_LEVEL value "loud": expected one of {levels}',
        "SIGNED_URL_TTL_MINUTES must be between 1 and 10080",
        "HEARTBEAT_INTERVAL_SECONDS must be between 5 and 3600",
        "HEALTH_CHECK_INTERVAL_SECONDS must be between 1 and 3600",
        "STALE_THRESHOLD_MULTIPLIER must be between 1.5 and 1000",
        "WEBHOOK_WORKER_INTERVAL_SECONDS must be between 1 and 3600",
        "WEBHOOK_WORKER_BATCH_SIZE must be between 1 and 500",
        "FLEET_SECRET_KEY must be valid hex",
        'invalid FLEET_PUBLIC_URL value "fleet.example.com": '
        "expected http:// or https:// and a host, without a path",
        "DATA_DIR must not be empty",
    ]


BOUNDS = {
    "PORT": (0, 65_535),
    "SIGNED_URL_TTL_MINUTES": (1, 10_080),
    "HEARTBEAT_INTERVAL_SECONDS": (5, 3600),
    "HEALTH_CHECK_INTERVAL_SECONDS": (1, 3600),
    "WEBHOOK_WORKER_INTERVAL_SECONDS": (1, 3600),
    "WEBHOOK_WORKER_BATCH_SIZE": (1, 500),
    "WEBHOOK_TIMEOUT_SECONDS": (1, 30),
    "REQUEST_TIMEOUT_SECONDS": (1, 3600),
    "HEARTBEAT_SAMPLE_SECONDS": (1, 86_400),
    "SESSION_IDLE_MINUTES": (1, 10_080),
    "SESSION_MAX_HOURS": (1, 8760),
    "HEARTBEAT_RETENTION_DAYS": (1, 3650),
    "DELIVERY_RETENTION_DAYS": (1, 3650),
    "EVENT_RETENTION_DAYS": (1, 3650),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_an_integer_is_taken_at_its_bounds_and_refused_beyond_them(name: str) -> None:
    low, high = BOUNDS[name]
    outside = f"{name} must be between {low} and {high}"
    for value in (low, high):
        read(**{name: f" +{value} "})
    assert problem(**{name: str(high + 1)}) == outside
    if low > 0:
        assert problem(**{name: str(low - 1)}) == outside
    assert problem(**{name: "1e1"}) == f'invalid {name} value "1e1": invalid digit found in string'
    assert read(**{name: " "}) == read()


def test_integers_reach_the_field_that_they_are_meant_for() -> None:
    env = {name: str(number) for number, name in enumerate(BOUNDS, start=10)}
    found = read(**env)
    plane = found.plane
    assert found.listen.port == 10
    assert [
        plane.heartbeat_interval_s,
        plane.health.interval_s,
        plane.webhooks.interval_s,
        plane.webhooks.batch_size,
        plane.webhooks.timeout_s,
        plane.request_timeout_s,
        plane.heartbeat_sample_s,
        plane.session_idle_minutes,
        plane.session_max_hours,
        plane.retention.heartbeat_days,
        plane.retention.delivery_days,
        plane.retention.event_days,
    ] == list(range(12, 24))


def test_the_port_is_of_loopback_in_dev_mode_and_an_address_wins_over_it() -> None:
    assert fleet_settings({"PORT": "0"}).listen == ListenAddress("127.0.0.1", 0)
    assert read(PORT="80").listen == ListenAddress("0.0.0.0", 80)
    assert read(PORT="80", FLEET_LISTEN_ADDR=" [::1]:90 ").listen == ListenAddress("::1", 90)
    assert read(LISTEN_ADDR="10.0.0.1:1").listen == ListenAddress("0.0.0.0", 5380)
    for raw in ("", "5380", "::1:5380"):
        text = f'invalid FLEET_LISTEN_ADDR "{raw}": invalid socket address syntax'
        assert problem(FLEET_LISTEN_ADDR=raw) == text


def test_a_management_key_is_trimmed_long_and_printable_and_never_shown() -> None:
    found = read(MANAGEMENT_KEY=f" {KEY}\n", MANAGEMENT_KEY_PREVIOUS="p" * 40)
    assert found.plane.management_keys == (KEY, "p" * 40)
    assert KEY not in repr(found)
    assert "p" * 40 not in repr(found)
    assert read(MANAGEMENT_KEY_PREVIOUS="").plane.management_keys == (KEY,)
    for name in ("MANAGEMENT_KEY", "MANAGEMENT_KEY_PREVIOUS"):
        assert problem(**{name: "k" * 31}) == f"{name} must be at least 32 characters"
        for raw in (f"{KEY} {KEY}", KEY + "ü"):
            assert problem(**{name: raw}) == f"{name} must have printable ASCII characters and no blanks"
    for raw in ("", "  "):
        assert problem(MANAGEMENT_KEY=raw) == "MANAGEMENT_KEY must be at least 32 characters"
        assert problems({"MANAGEMENT_KEY": raw}) == ["MANAGEMENT_KEY must be at least 32 characters"]


def test_secret_keys_are_64_hex_digits_and_never_shown() -> None:
    found = read(FLEET_SECRET_KEY=f" {SECRET.upper()} ", FLEET_SECRET_KEY_PREVIOUS="00" * 32)
    assert found.plane.secret_keys == (bytes.fromhex(SECRET), bytes(32))
    assert "secret_keys" not in repr(found)
    assert read(FLEET_SECRET_KEY_PREVIOUS=" ").plane.secret_keys == (bytes.fromhex(SECRET),)
    for name in ("FLEET_SECRET_KEY", "FLEET_SECRET_KEY_PREVIOUS"):
        assert problem(**{name: "xyz"}) == f"{name} must be valid hex"
        assert problem(**{name: "ab"}) == f"{name} must be 64 hex characters (32 bytes), got 1 bytes"
    assert problem(FLEET_SECRET_KEY="") == "FLEET_SECRET_KEY must be set"


def test_cors_origins_are_exact_or_all_of_them() -> None:
    assert read(CORS_ORIGINS=" * ").plane.cors_origins == ("*",)
    assert read(CORS_ORIGINS="").plane.cors_origins == ()
    raw = "https://A.example.com:443, http://[::1]:3000,,capacitor://localhost,https://a.example.com"
    assert read(CORS_ORIGINS=raw).plane.cors_origins == (
        "https://a.example.com",
        "http://[::1]:3000",
        "capacitor://localhost",
    )


@pytest.mark.parametrize(
    "entry",
    [
        "https://a.example.com/",
        "https://a.example.com/x",
        "https://u@a.example.com",
        "https://a.example.com:",
        "https://a.example.com:65536",
        "https://",
        "https://[::1",
        "https://a b",
        "//a.example.com",
        "a.example.com:80",
        "null",
        "https://*.example.com",
        "https://a.example.com?x",
    ],
)
def test_what_is_no_origin_is_refused_by_name(entry: str) -> None:
    assert problem(CORS_ORIGINS=f"https://b.example.com,{entry}") == (
        f'invalid CORS_ORIGINS entry "{entry}": expected an origin'
    )


def test_all_origins_are_named_alone() -> None:
    assert problem(CORS_ORIGINS="*,https://a.example.com") == (
        'invalid CORS_ORIGINS entry "*": expected an origin'
    )


@pytest.mark.parametrize(
    "raw", ["ftp://h", "https://h/fleet", "https://u:p@h", "h", "https://h?x", "https://"]
)
def test_another_public_address_is_refused(raw: str) -> None:
    assert problem(FLEET_PUBLIC_URL=raw).startswith(f'invalid FLEET_PUBLIC_URL value "{raw}": expected http')


def test_a_public_address_is_an_origin() -> None:
    assert read(FLEET_PUBLIC_URL=" HTTPS://Fleet.example.com:8443/ ").plane.public_url == (
        "https://fleet.example.com:8443"
    )
    assert fleet_settings({"FLEET_PUBLIC_URL": "https://h"}).plane.public_url == "https://h"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://127.0.0.1:1"),
        ("::1", "http://[::1]:1"),
        ("10.0.0.1", "http://10.0.0.1:1"),
    ],
)
def test_dev_mode_is_reached_where_it_listens_unless_it_is_said(host: str, url: str) -> None:
    assert fleet_settings({}).public_url(ListenAddress(host, 1)) == url
    assert read().public_url(ListenAddress(host, 1)) == "https://fleet.example.com"


@pytest.mark.parametrize(
    ("stale", "inactive", "message"),
    [
        ("1.5", "1.5", "INACTIVE_THRESHOLD_MULTIPLIER must be greater than STALE_THRESHOLD_MULTIPLIER"),
        ("3", "2.9", "INACTIVE_THRESHOLD_MULTIPLIER must be greater than STALE_THRESHOLD_MULTIPLIER"),
        ("10", "", "INACTIVE_THRESHOLD_MULTIPLIER must be greater than STALE_THRESHOLD_MULTIPLIER"),
        ("1.49", "10", "STALE_THRESHOLD_MULTIPLIER must be between 1.5 and 1000"),
        ("1000.1", "10", "STALE_THRESHOLD_MULTIPLIER must be between 1.5 and 1000"),
        ("3", "10001", "INACTIVE_THRESHOLD_MULTIPLIER must be between 0 and 10000"),
        ("-3", "2", 'invalid STALE_THRESHOLD_MULTIPLIER value "-3": expected a number such as 30 or 0.5'),
        ("3", "x", 'invalid INACTIVE_THRESHOLD_MULTIPLIER value "x": expected a number such as 30 or 0.5'),
    ],
)
def test_thresholds_that_cannot_be_meant_are_refused(stale: str, inactive: str, message: str) -> None:
    env = {"STALE_THRESHOLD_MULTIPLIER": stale, "INACTIVE_THRESHOLD_MULTIPLIER": inactive}
    assert problem(**env) == message


def test_thresholds_are_decimal_numbers() -> None:
    env = {"STALE_THRESHOLD_MULTIPLIER": " 1.5 ", "INACTIVE_THRESHOLD_MULTIPLIER": "1.6"}
    assert read(**env).plane.health == HealthSettings(30, 1.5, 1.6)


@pytest.mark.parametrize("name", ["WEBHOOK_ALLOW_CIDRS", "TRUSTED_PROXY_CIDRS"])
def test_networks_stand_between_commas(name: str) -> None:
    plane = read(**{name: "10.0.0.0/8, ::1 ,,10.0.0.0/8"}).plane
    found = plane.webhooks.allow_networks if name.startswith("WEBHOOK") else plane.trusted_proxies
    assert found == (ip_network("10.0.0.0/8"), ip_network("::1/128"))
    for entry in ("10.0.0.1/8", "example.com", "10.0.0.0/33"):
        text = f'invalid {name} entry "{entry}": expected a network such as 10.0.0.0/8'
        assert problem(**{name: f"{entry},127.0.0.0/8"}) == text


def test_a_schema_is_a_plain_name() -> None:
    assert read(FLEET_SCHEMA="fleet_2").plane.schema == "fleet_2"
    for raw in ("", "Fleet", "2fleet", "pg_fleet", "a,b", "a-b", "a" * 64):
        assert problem(FLEET_SCHEMA=raw).startswith("FLEET_SCHEMA must be 1 to 63 of a-z, 0-9 and _")


def test_the_admin_listener_has_an_address_of_its_own_where_one_file_serves_both() -> None:
    token = "t" * 16
    both = read(ADMIN_ADDR="10.0.0.1:1", FLEET_ADMIN_ADDR="10.0.0.2:2", ADMIN_TOKEN=token)
    assert both.admin == AdminSettings(ListenAddress("10.0.0.2", 2), token, None)
    assert read(ADMIN_ADDR="10.0.0.1:1").admin.listen == ListenAddress("10.0.0.1", 1)
    assert read(ADMIN_ADDR="10.0.0.1:1", FLEET_ADMIN_ADDR="").admin.listen is None
    assert token not in repr(both)
    assert problem(FLEET_ADMIN_ADDR="x") == 'invalid FLEET_ADMIN_ADDR "x": invalid socket address syntax'


def test_the_rest_is_read_as_a_sync_server_reads_it() -> None:
    found = read(
        DATA_DIR="/srv", LOG_LEVEL="Debug", LOG_FORMAT="json", SHUTDOWN_GRACE_SECONDS="3",
        WEBHOOK_ALLOW_HTTP="yes", DATABASE_MAX_CONNECTIONS="4",
    )  # fmt: skip
    assert (found.data_dir, found.log) == (Path("/srv/fleet"), LogSettings("debug", "json"))
    assert (found.shutdown_grace_s, found.plane.database_connections_max) == (3, 4)
    assert found.plane.webhooks.allow_http
    assert read(RUST_LOG="2").log.level == "warn"
    assert problem(WEBHOOK_ALLOW_HTTP="maybe") == (
        'invalid WEBHOOK_ALLOW_HTTP value "maybe": expected "true" or "false"'
    )


def test_what_is_not_acted_on_is_warned_of() -> None:
    assert read(GCS_BUCKET="releases", SIGNED_URL_TTL_MINUTES="20").warnings == (
        "GCS_BUCKET is set, but this version keeps no releases: it has no effect",
        "SIGNED_URL_TTL_MINUTES is set, but this version keeps no releases: it has no effect",
    )
    assert read(GCS_BUCKET="").warnings == ()


def test_addresses_that_keep_people_out_are_warned_of() -> None:
    assert read(FLEET_PUBLIC_URL="http://fleet.example.com").warnings == (
        "FLEET_PUBLIC_URL is plain http: browsers keep no session, and servers do not report",
    )
    assert read(FLEET_PUBLIC_URL="http://127.0.0.1:5380").warnings == ()
    assert fleet_settings({"FLEET_LISTEN_ADDR": ":5380"}).warnings == (
        "FLEET_PUBLIC_URL is not set: browsers on other machines are turned away",
    )


def test_slips_are_warned_of_and_limits_are_left_to_the_sync_server() -> None:
    assert read(MANAGMENT_KEY="x", LIMIT_FRAME_BYTES="1").warnings == (
        "unknown variable MANAGMENT_KEY is ignored: MANAGEMENT_KEY is the nearest setting",
    )


def test_one_file_of_variables_may_serve_a_sync_server_too() -> None:
    ours = read().asked
    theirs = Settings.from_env({"DATABASE_URL": "postgres://d/b", "TRUSTED_ISSUERS": "https://a.b"}).asked
    pairs = ((one, other) for one in ours for other in theirs if one != other)
    assert [pair for pair in pairs if one_slip_apart(*pair)] == []


def test_the_page_lists_what_is_read() -> None:
    section = (ROOT / "docs/settings.md").read_text().partition("\n## Fleet plane\n")[2].splitlines()
    rows = [line.split("|")[1].replace("`", "").split() for line in section if line.startswith("| `")]
    assert sorted(name for row in rows for name in row) == sorted(read().asked)
